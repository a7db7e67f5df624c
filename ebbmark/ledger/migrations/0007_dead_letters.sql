-- What was given up, for operators. A letter outlives its job's rows or not, so it refers to none of them.
create table dead_letters (
  id text primary key,                  -- a digest of what it is about: a repeat finds itself
  place bigint generated always as identity unique,
  subject text not null,                -- the same for every letter about the same photo or message
  reason text not null,
  state text not null default 'open' check (state in ('open', 'redriven', 'resolved')),
  topic text not null,
  partition int not null,               -- -1: a photo that the ledger gave up, with no message in hand
  "offset" bigint not null,
  original bytea not null,              -- of an unreadable message: whatever somebody wrote
  job uuid,
  n int,
  epoch int,
  attempts int not null,
  redrives int not null default 0,
  first_seen timestamptz not null,
  last_seen timestamptz not null,
  entered_at timestamptz not null default now(),
  redriven_at timestamptz
);
create index dead_letters_open on dead_letters (entered_at) where state = 'open';
create index dead_letters_subject on dead_letters (subject);
create index dead_letters_entered on dead_letters (entered_at);
