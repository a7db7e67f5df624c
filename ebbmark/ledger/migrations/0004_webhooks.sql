-- Whom a job tells of its end; the row goes when its end has been told, or minutes after.
create table webhooks (
  job uuid primary key references jobs on delete cascade,
  url text not null,
  secret bytea not null,                -- signs, so it cannot be a hash
  reference text                        -- the sender's own words, told back
);

-- What was to be told and what became of it: no address, no secret, no words.
create table deliveries (
  job uuid not null references jobs on delete cascade,
  event text not null,                  -- the webhook-id: one for each job, epoch and kind
  kind text not null check (kind in ('job.completed', 'job.expired')),
  epoch int not null,
  total int not null,
  done int not null,
  failed int not null,
  occurred_at timestamptz not null,
  expires_at timestamptz,               -- of the job, as it was then
  attempts int not null default 0,      -- also the fence: an attempt is known by its number
  failures int not null default 0,      -- since the last success or replay
  next_attempt_at timestamptz default now(),  -- null when delivered or given up
  dispatched_at timestamptz,            -- when the janitor last ordered an attempt
  due_since timestamptz not null default now(),
  attempted_at timestamptz,
  status int,                           -- of the last answer, if there was one
  outcome text,                         -- of the last attempt
  delivered_at timestamptz,
  given_up_at timestamptz,
  primary key (job, event)
) with (fillfactor = 80);
create index deliveries_due on deliveries (next_attempt_at) where next_attempt_at is not null;
