-- The proof that a job is gone outlives it: a second token whose owner may ask, how often the job's prefix was
-- seen empty, and what was found there before each of those times.
alter table jobs add column receipt_hash bytea unique;        -- sha-256 of the receipt's token; stays
alter table jobs add column listings int not null default 0;  -- empty ones
create index jobs_living on jobs (id) where state in ('open', 'rendering', 'complete');

create table deletions (
  job uuid not null references jobs on delete cascade,
  listing int not null,                 -- of how many empty listings it was the next
  originals int not null,
  results int not null,
  objects int not null,                 -- all of them
  bytes bigint not null,
  noted_at timestamptz not null default now(),
  primary key (job, listing)
);

-- The last audit of the whole bucket that came to its end.
create table audits (
  last boolean primary key default true check (last),
  started_at timestamptz not null,
  ended_at timestamptz not null,
  objects bigint not null,
  bytes bigint not null,
  findings bigint not null
);
