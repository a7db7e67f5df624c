-- A job is one upload; its row outlives its photos as ids, counts and times only.
create table jobs (
  id uuid primary key,
  token_hash bytea unique,              -- sha-256 of the capability token; null once expired
  state text not null default 'open'
    check (state in ('open', 'rendering', 'complete', 'expiring', 'expired')),
  recipe bytea,                         -- canonical JSON; null while unknown and once expired
  logo_sha256 bytea,
  epoch int not null default 0,
  total int,                            -- null while open
  photos int not null default 0,        -- rows entered so far
  done int not null default 0,
  failed int not null default 0,
  bytes bigint not null default 0,      -- of the originals
  version bigint not null default 1,    -- grows with every change a watcher can see
  idempotency_hash bytea unique,
  sealed_token bytea,
  fingerprint bytea,
  created_at timestamptz not null default now(),
  upload_deadline timestamptz not null,
  deadline timestamptz,                 -- photos not rendered by then fail
  completed_at timestamptz,
  expires_at timestamptz,               -- the links are dead from here on
  announced_epoch int,                  -- JobCompleted of this epoch is in the log
  delete_at timestamptz,                -- when the next deletion is due
  expired_at timestamptz,               -- the prefix listed empty
  verified_at timestamptz,              -- and once more, after the quiet time
  constraint counters_fit check (total is null or done + failed <= total),
  constraint complete_is_counted check (state <> 'complete' or done + failed = total)
);
create index jobs_by_expiry on jobs (expires_at) where state = 'complete';
create index jobs_by_deletion on jobs (delete_at) where verified_at is null and state in ('expiring', 'expired');
create index jobs_unsealed on jobs (upload_deadline) where state = 'open';
create index jobs_rendering on jobs (deadline) where state = 'rendering';
create index jobs_unannounced on jobs (completed_at) where state = 'complete' and announced_epoch is distinct from epoch;
create index jobs_tombstones on jobs (expired_at) where state = 'expired';

create table photos (
  job uuid not null references jobs on delete cascade,
  n int not null check (n >= 0),
  state text not null default 'queued'
    check (state in ('queued', 'rendering', 'retrying', 'done', 'failed')),
  name text,                            -- null once expired
  size bigint not null,
  sha256 bytea not null,
  epoch int not null default 0,
  fence int not null default 0,         -- grows with every claim, never reused
  strikes int not null default 0,       -- spent by claims; what runs out of them is failed
  lease_until timestamptz,
  dispatch_at timestamptz,              -- when to dispatch (again) unless claimed before
  dispatches int not null default 0,
  code text,
  detail text,
  width int,
  height int,
  result_size bigint,
  thumbnail_size int,
  result_type text,
  created_at timestamptz not null default now(),
  primary key (job, n)
) with (fillfactor = 80);
create index photos_waiting on photos (dispatch_at) where state in ('queued', 'retrying');
create index photos_leased on photos (lease_until) where state = 'rendering';
