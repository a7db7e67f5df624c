-- Every statement of the ledger. Each is atomic by itself and runs with autocommit. {job} is what is read of a job,
-- column by column: a statement that is prepared somewhere breaks when a migration adds a column to its answer.
-- Rows are locked in one order everywhere: the job, then its photos.

-- name: ready
-- The database answers.
select 1;

-- name: open_job
-- Nothing is returned when the idempotency hash, or in a repeated call the id, is taken.
insert into jobs (id, token_hash, receipt_hash, recipe, logo_sha256, idempotency_hash, sealed_token, fingerprint, upload_deadline,
                  attempts)
values (%(id)s, %(token_hash)s, %(receipt_hash)s, %(recipe)s, %(logo_sha256)s, %(idempotency_hash)s, %(sealed_token)s,
        %(fingerprint)s, now() + %(upload_deadline)s, array[%(attempt)s::uuid])
on conflict do nothing
returning {job};

-- name: join_job
-- The job that an Idempotency-Key opened, held by this attempt too; a hundred hold it well enough.
-- A dying job has no such hash any more.
update jobs set attempts = case when cardinality(attempts) < 100
  then array_append(array_remove(attempts, %(attempt)s), %(attempt)s) else attempts end
where idempotency_hash = %(idempotency_hash)s
returning {job};

-- name: job_by_token
-- A purged job has no token any more, so it looks like one that never was.
select {job} from jobs where token_hash = %(token_hash)s;

-- name: job_by_id
-- The job, in any state.
select {job} from jobs where id = %(id)s;

-- name: snapshot
-- One statement, so that the counters and the photos are of one moment. The job is known by id or by token.
select {job}, (
  select coalesce(json_agg(photo), '[]')::text from (
    select n, name, state, epoch, encode(sha256, 'base64') as sha256, size, code, detail, width, height,
           result_size, thumbnail_size, result_type, removed
    from photos where job = jobs.id order by n
  ) photo
) as photo_rows
from jobs where id = coalesce(%(id)s::uuid, (select id from jobs where token_hash = %(token_hash)s::bytea));

-- name: times
-- When it came, was taken up and ended, of each photo of a job.
select n, state, code, epoch, fence as claims, created_at as accepted_at,
  coalesce(round_at, created_at) as round_at, claimed_at, ended_at
from photos where job = %(job)s order by n;

-- name: look
-- The job, and the digest of the photo that has the place.
select {job}, photos.sha256 as taken
from jobs left join photos on photos.job = jobs.id and photos.n = %(n)s where jobs.id = %(id)s;

-- name: add_photos
-- First come, first kept. A photo that comes with a code is failed from the start. Returns what was added.
with job as (
  select id from jobs where id = %(job)s and state = 'open' and upload_deadline > now()
    and (fingerprint is null or %(fingerprint)s::bytea is null or fingerprint = %(fingerprint)s)
    and (%(most)s::bigint is null
      or bytes + (select coalesce(sum(given), 0) from unnest(%(size)s::bigint[]) as given) <= %(most)s)
  for update
), added as (
  insert into photos (job, n, name, size, sha256, code, detail, state, dispatch_at, ended_at)
  select job.id, new.n, new.name, new.size, new.sha256, new.code, new.detail,
         case when new.code is null then 'queued' else 'failed' end,
         case when new.code is null then now() + %(stale)s end,
         case when new.code is not null then now() end
  from job, unnest(%(n)s::int[], %(name)s::text[], %(size)s::bigint[], %(sha256)s::bytea[],
                   %(code)s::text[], %(detail)s::text[]) as new (n, name, size, sha256, code, detail)
  on conflict (job, n) do nothing
  returning *
), noted as (
  update jobs set
    recipe = coalesce(%(recipe)s, recipe),
    logo_sha256 = coalesce(%(logo_sha256)s, logo_sha256),
    fingerprint = coalesce(%(fingerprint)s, fingerprint),
    photos = photos + (select count(*) from added),
    failed = failed + (select count(*) from added where state = 'failed'),
    bytes = bytes + (select coalesce(sum(size), 0) from added),
    version = version + 1
  from job where jobs.id = job.id
  returning jobs.id
)
-- A recipe that comes alone is news too, so the notification does not hang on the photos.
select added.n, name, state, epoch, sha256, size, code, detail, width, height, result_size, thumbnail_size,
  result_type, removed, pg_notify(%(channel)s, noted.id::text)
from noted left join added on true order by n;

-- name: submit
-- A form that came whole: photos, recipe and seal at once, into a job that is empty or not at all. Its request has
-- time to say that it is accepted, late as it may be.
with job as (
  select id from jobs where id = %(job)s and state = 'open' and upload_deadline > now() and photos = 0
    and (fingerprint is null or fingerprint = %(fingerprint)s) for update
), added as (
  insert into photos (job, n, name, size, sha256, code, detail, state, dispatch_at, ended_at)
  select job.id, new.n, new.name, new.size, new.sha256, new.code, new.detail,
         case when new.code is null then 'queued' else 'failed' end,
         case when new.code is null then now() + %(stale)s end,
         case when new.code is not null then now() end
  from job, unnest(%(n)s::int[], %(name)s::text[], %(size)s::bigint[], %(sha256)s::bytea[],
                   %(code)s::text[], %(detail)s::text[]) as new (n, name, size, sha256, code, detail)
  returning state, size
), counted as (
  select count(*) as total, count(*) filter (where state = 'failed') as failed, coalesce(sum(size), 0) as bytes
  from added
), submitted as (
  update jobs set
    recipe = %(recipe)s,
    logo_sha256 = coalesce(%(logo_sha256)s, logo_sha256),
    fingerprint = %(fingerprint)s,
    photos = c.total,
    failed = c.failed,
    bytes = c.bytes,
    total = c.total,
    deadline = now() + %(deadline)s,
    unaccepted_until = greatest(jobs.upload_deadline, now() + interval '30 s'),
    version = version + 1,
    state = case when c.failed = c.total then 'complete' else 'rendering' end,
    completed_at = case when c.failed = c.total then now() end,
    expires_at = case when c.failed = c.total then now() + %(ttl)s end
  from job, counted c where jobs.id = job.id
  returning jobs.*
)
select {job}, pg_notify(%(channel)s, id::text) from submitted jobs;

-- name: photos_by_n
-- The rows of some photos of a job.
select n, name, state, epoch, sha256, size, code, detail, width, height, result_size, thumbnail_size, result_type,
  removed
from photos where job = %(job)s and n = any(%(n)s) order by n;

-- name: backlog
-- What has been taken in and has not ended; what belongs to a deleted job waits for nothing. A job that must know
-- its total waits for its sender, not for a worker.
-- By job first: of 20,000 photos that takes 6 ms, and to count distinct jobs 22.
select coalesce(sum(waiting.photos), 0)::int as photos, count(*) filter (
  where done = 0 and (total is not null or position(convert_to('{total}', 'UTF8') in recipe) = 0)
) as jobs
from (
  select job, count(*) as photos from photos
  where (state in ('queued', 'retrying') and dispatch_at is not null)
     or (state = 'rendering' and lease_until is not null)
  group by job
) waiting join jobs on jobs.id = waiting.job;

-- name: seal
-- Closes the job when it holds as many photos as its sender says, and completes it when all have ended.
-- Reads no row but the one it writes: constraints are checked before a concurrent change is noticed.
with sealed as (
  update jobs set
    total = %(total)s,
    deadline = now() + %(deadline)s,
    version = version + 1,
    state = case when done + failed = %(total)s then 'complete' else 'rendering' end,
    completed_at = case when done + failed = %(total)s then now() end,
    expires_at = case when done + failed = %(total)s then now() + %(ttl)s end
  where id = %(id)s and state = 'open' and photos = %(total)s and recipe is not null
  returning *
)
select {job}, pg_notify(%(channel)s, id::text) from sealed jobs;

-- name: accepted
-- Its orders are in the log, so its 202 may be said. Too late when it is dying.
update jobs set unaccepted_until = null where id = %(id)s and state in ('open', 'rendering', 'complete')
returning id;

-- name: expire_now
-- The owner wants it gone, or the door could not keep its word.
with job as (
  update jobs set state = 'expiring', version = version + 1, expires_at = least(expires_at, now()),
    delete_at = now(), idempotency_hash = null
  where id = %(id)s and state in ('open', 'rendering', 'complete')
  returning id
)
select pg_notify(%(channel)s, id::text) from job;

-- name: abandon
-- The attempt takes itself out; the job goes when no other holds it. One that is dying is looked through once
-- more, as the attempt may have written into it. No expression leaves the row: attempts may end at one moment.
with job as (
  update jobs set
    attempts = array_remove(attempts, %(attempt)s),
    state = case when attempts = array[%(attempt)s::uuid] and state <> 'expired' then 'expiring' else state end,
    expires_at = case when attempts = array[%(attempt)s::uuid] then least(expires_at, now()) else expires_at end,
    idempotency_hash = case when attempts <> array[%(attempt)s::uuid] then idempotency_hash end,
    delete_at = case when attempts = array[%(attempt)s::uuid] or state in ('expiring', 'expired') then now() end,
    verified_at = null,
    version = version + 1
  where id = %(id)s and (%(attempt)s = any(attempts) or state in ('expiring', 'expired'))
  returning id
)
select pg_notify(%(channel)s, id::text) from job;

-- name: redrive
-- A new round for what has failed. A repeat finds other epochs and does nothing; what was refused at the door
-- has no original, which its size of 0 says. With another recipe only what is complete begins anew, so that
-- no photo is under way by the old one.
with wanted as (
  select distinct * from unnest(%(job)s::uuid[], %(n)s::int[], %(epoch)s::int[]) as given (job, n, epoch)
), locked as (
  select id from jobs
  where id in (select job from wanted)
    and ((state = 'rendering' and %(recipe)s::bytea is null) or (state = 'complete' and expires_at > now()))
    and (%(within)s::interval is null or created_at > now() - %(within)s::interval)
  order by id for update
), again as (
  update photos p set
    state = 'queued', epoch = p.epoch + 1, strikes = 0, dispatches = 0, lease_until = null, claimant = null,
    code = null, detail = null, dispatch_at = now() + %(stale)s,
    round_at = now(), claimed_at = null, ended_at = null
  from wanted w join locked on locked.id = w.job
  where p.job = w.job and p.n = w.n and p.epoch = w.epoch and p.state = 'failed' and p.size > 0
  returning p.job, p.n, p.epoch
), counted as (
  select job, count(*) as photos from again group by job
), moved as (
  update jobs j set
    state = 'rendering', completed_at = null, expires_at = null, deadline = now() + %(deadline)s,
    recipe = coalesce(%(recipe)s, j.recipe),
    logo_sha256 = coalesce(%(logo_sha256)s, j.logo_sha256),
    failed = j.failed - c.photos,
    epoch = j.epoch + 1,
    version = version + 1
  from counted c where j.id = c.job
  returning j.id
)
select again.job, n, epoch, pg_notify(%(channel)s, moved.id::text)
from again join moved on moved.id = again.job order by again.job, n;

-- name: cancel
-- What has not ended fails at once, so that done and failed stay all there is to count; what a worker still says
-- of it is absorbed like any late outcome.
with locked as (
  select id from jobs where id = %(job)s and state in ('open', 'rendering') for update
), ended as (
  update photos p set
    state = 'failed', code = %(code)s, detail = %(detail)s, lease_until = null, claimant = null, dispatch_at = null,
    ended_at = now()
  from locked
  where p.job = locked.id and p.state not in ('done', 'failed')
    and (%(photos)s::int[] is null or p.n = any(%(photos)s::int[]))
  returning p.n
), counted as (
  select count(*) as photos from ended
), moved as (
  update jobs j set
    failed = j.failed + c.photos,
    version = version + 1,
    state = case when j.state = 'rendering' and j.done + j.failed + c.photos = j.total
      then 'complete' else j.state end,
    completed_at = case when j.state = 'rendering' and j.done + j.failed + c.photos = j.total
      then now() else j.completed_at end,
    expires_at = case when j.state = 'rendering' and j.done + j.failed + c.photos = j.total
      then now() + %(ttl)s else j.expires_at end
  from counted c, locked where j.id = locked.id and c.photos > 0
  returning j.id
)
select n, pg_notify(%(channel)s, moved.id::text) from moved, ended order by n;

-- name: claim
-- Before any byte is decoded. What is not returned must not be rendered. A claimant that asks for what it
-- holds has lost the answer: it gets the same claim again. A recipe that names the number of photos waits for the
-- seal: rendered before and after it, one photo would have two results.
update photos p set
  state = 'rendering', claimant = %(claimant)s, lease_until = now() + %(lease)s,
  fence = p.fence + case when p.state = 'rendering' and p.claimant = %(claimant)s then 0 else 1 end,
  strikes = p.strikes + case when p.state = 'rendering' and p.claimant = %(claimant)s then 0 else 1 end,
  claimed_at = case when p.state = 'rendering' and p.claimant = %(claimant)s then p.claimed_at else now() end
from unnest(%(job)s::uuid[], %(n)s::int[], %(epoch)s::int[]) as wanted (job, n, epoch)
join jobs j on j.id = wanted.job
where p.job = wanted.job and p.n = wanted.n and p.epoch = wanted.epoch
  and j.state in ('open', 'rendering') and j.recipe is not null
  and (j.total is not null or position(convert_to('{total}', 'UTF8') in j.recipe) = 0)
  and ((p.state = 'rendering' and p.claimant = %(claimant)s)
    or (p.strikes < %(strikes)s
      and (p.state = 'queued' or (p.state = 'rendering' and p.lease_until < now()))))
returning p.job, p.n, p.epoch, p.fence, p.strikes, coalesce(p.name, '') as name, p.sha256, j.recipe, j.logo_sha256,
  j.total, (j.created_at at time zone 'UTC')::date as sent_on, now() - p.created_at as waited;

-- name: renew
-- Whoever is alive says so; a claim that was taken over has another fence, and one that was reported no claimant.
update photos p set lease_until = now() + %(lease)s
from unnest(%(job)s::uuid[], %(n)s::int[], %(fence)s::int[]) as held (job, n, fence)
where p.job = held.job and p.n = held.n and p.fence = held.fence and p.state = 'rendering'
  and p.claimant is not null;

-- name: reported
-- The claim's strike is given back. It has no claimant from then on, so a repeat gives nothing back twice. An
-- outcome that comes after the photo was claimed anew is too old to count, so each report waits longer for its own.
update photos set claimant = null, strikes = greatest(0, strikes - 1),
  lease_until = now() + %(lease)s * power(2, least(dispatches, 3))
where job = %(job)s and n = %(n)s and epoch = %(epoch)s and fence = %(fence)s and state = 'rendering'
  and claimant is not null;

-- name: release
-- A fence that is not the current one matches nothing, nor does a claim that was reported, whose strike is given
-- back already. Releases are rare, so watchers are told.
with locked as (
  select id from jobs where id = %(job)s for update
), released as (
  update photos set
    state = 'retrying', lease_until = null, claimant = null, strikes = greatest(0, strikes + %(strikes)s),
    dispatch_at = now() + %(retry_after)s
  from locked
  where job = locked.id and n = %(n)s and epoch = %(epoch)s and fence = %(fence)s and state = 'rendering'
    and claimant is not null
  returning job
)
update jobs set version = version + 1 from released where id = released.job
returning pg_notify(%(channel)s, id::text);

-- name: finish
-- Photos, counters, version, completion and notification in one statement. Terminal photos absorb,
-- and so does a dying job: nothing may be written into what mark_expired has emptied.
with outcome as (
  select distinct on (job, n, epoch) *
  from unnest(%(job)s::uuid[], %(n)s::int[], %(epoch)s::int[], %(fence)s::int[], %(code)s::text[],
              %(detail)s::text[], %(width)s::int[], %(height)s::int[], %(size)s::bigint[],
              %(thumbnail_size)s::int[], %(media_type)s::text[], %(removed)s::text[])
    as given (job, n, epoch, fence, code, detail, width, height, size, thumbnail_size, media_type, removed)
  order by job, n, epoch, code is not null, fence desc
), locked as (
  select id from jobs
  where id in (select job from outcome) and state in ('open', 'rendering') order by id for update
), ended as (
  update photos p set
    state = case when o.code is null then 'done' else 'failed' end,
    lease_until = null, dispatch_at = null, ended_at = now(), code = o.code, detail = o.detail, width = o.width,
    height = o.height, result_size = o.size, thumbnail_size = o.thumbnail_size, result_type = o.media_type,
    removed = o.removed
  from outcome o join locked on locked.id = o.job
  where p.job = o.job and p.n = o.n and p.epoch = o.epoch
    and p.state not in ('done', 'failed')
    and (o.code is null or p.fence = o.fence)
  returning p.job, p.state
), counted as (
  select job, count(*) filter (where state = 'done') as done, count(*) filter (where state = 'failed') as failed
  from ended group by job
), moved as (
  -- Only the row itself is read anew after waiting for its lock, so no expression may leave it.
  update jobs j set
    done = j.done + c.done,
    failed = j.failed + c.failed,
    version = version + 1,
    state = case when j.state = 'rendering' and j.done + j.failed + c.done + c.failed = j.total
      then 'complete' else j.state end,
    completed_at = case when j.state = 'rendering' and j.done + j.failed + c.done + c.failed = j.total
      then now() else j.completed_at end,
    expires_at = case when j.state = 'rendering' and j.done + j.failed + c.done + c.failed = j.total
      then now() + %(ttl)s else j.expires_at end
  from counted c where j.id = c.job
  returning j.id, j.epoch, j.done, j.failed, j.state = 'complete' and j.completed_at = now() as completed
)
select id as job, epoch, done, failed, completed, pg_notify(%(channel)s, id::text),
  completed and exists (select from webhooks w where w.job = id) as awaited
from moved;

-- name: announced
-- JobCompleted of these epochs is in the log; a note that comes late takes nothing back.
update jobs set announced_epoch = greatest(announced_epoch, given.epoch)
from unnest(%(job)s::uuid[], %(epoch)s::int[]) as given (job, epoch)
where jobs.id = given.job;

-- name: unannounced
-- Completed ten seconds ago, and nobody said that the log has it.
select id as job, epoch, done, failed, exists (select from webhooks w where w.job = id) as awaited from jobs
where state = 'complete' and announced_epoch is distinct from epoch and completed_at < now() - interval '10 s'
limit 500;

-- name: overdue
-- What is taken comes back in ten seconds unless it is noted as dispatched.
with due as (
  select p.job, p.n from photos p join jobs j on j.id = p.job
  where p.state in ('queued', 'retrying') and p.dispatch_at <= now() and j.state in ('open', 'rendering')
  order by p.dispatch_at limit %(limit)s
  for update of p skip locked
)
update photos p set state = 'queued', dispatch_at = now() + interval '10 s'
from due where p.job = due.job and p.n = due.n
returning p.job, p.n, p.epoch;

-- name: dispatched
-- The log has them; each time they wait twice as long, so that a long backlog is not multiplied.
update photos p set dispatches = least(p.dispatches + 1, 10),
  dispatch_at = now() + %(stale)s * power(2, least(p.dispatches, 6))
from unnest(%(job)s::uuid[], %(n)s::int[], %(epoch)s::int[]) as sent (job, n, epoch)
where p.job = sent.job and p.n = sent.n and p.epoch = sent.epoch and p.state = 'queued';

-- name: end_leases
-- Leased to nobody alive: it waits two seconds for each strike's doubling, then goes round again.
update photos p set state = 'retrying', lease_until = null, claimant = null,
  dispatch_at = now() + interval '1 s' * power(2, p.strikes) * (0.8 + 0.4 * random())
where p.state = 'rendering' and p.lease_until < now() and p.strikes < %(strikes)s;

-- name: given_up
-- Out of strikes, or past the deadline of the job. Three reads, for each has an index of its own.
with lost as (
  select job, n from photos where state = 'rendering' and lease_until < now() and strikes >= %(strikes)s
  union
  select job, n from photos where state in ('queued', 'retrying') and strikes >= %(strikes)s
  union
  select p.job, p.n from jobs j join photos p on p.job = j.id
  where j.state = 'rendering' and j.deadline < now() and p.state in ('queued', 'retrying', 'rendering')
)
select p.job, p.n, p.epoch, p.fence, p.strikes, p.created_at,
  case when p.strikes >= %(strikes)s then 'poison' else 'deadline' end as code
from lost join photos p using (job, n) join jobs j on j.id = p.job
where j.state in ('open', 'rendering')
limit 500;

-- name: expire_due
-- Links die first, the objects after the grace; what is taken comes back in 30 s unless it is marked. Nobody knows
-- the links of what was never accepted, so its objects go at once.
with dying as (
  update jobs set state = 'expiring', version = version + 1, idempotency_hash = null,
    expires_at = least(expires_at, now()),
    delete_at = case when state = 'complete' and expires_at <= now() then expires_at + %(grace)s else now() end
  where id in (
    (select id from jobs where state = 'complete' and expires_at <= now() order by expires_at limit 500)
    union all
    (select id from jobs where state = 'open' and upload_deadline <= now() order by upload_deadline limit 500)
    union all
    (select id from jobs where state in ('rendering', 'complete') and unaccepted_until <= now()
      order by unaccepted_until limit 500)
  ) and ((state = 'complete' and expires_at <= now()) or (state = 'open' and upload_deadline <= now())
    or (state in ('rendering', 'complete') and unaccepted_until <= now()))
  returning id
), due as (
  select id from jobs
  where state in ('expiring', 'expired') and verified_at is null and delete_at <= now()
  order by delete_at limit 500 for update skip locked
), taken as (
  update jobs set delete_at = now() + interval '30 s' from due where jobs.id = due.id returning jobs.id
)
select id, false as due, pg_notify(%(channel)s, id::text) from dying
union all select id, true, null from taken;

-- name: expiry_overdue
-- Each half is a look into an index of its own.
select now() - least(
  (select min(expires_at) from jobs where state = 'complete' and expires_at < now()),
  (select min(expires_at) from jobs where state = 'expiring' and verified_at is null and expires_at < now()),
  now()
) as overdue;

-- name: mark_expired
-- What is left of a job is ids, counts and times. Says whether its end is still to be announced, and how
-- long after its links the last object went.
with marked as (
  update jobs set
    state = 'expired',
    listings = listings + 1,
    verified_at = case when expired_at <= now() - %(quiet)s then now() end,
    expired_at = coalesce(expired_at, now()),
    delete_at = coalesce(expired_at, now()) + %(quiet)s,
    token_hash = null, recipe = null, logo_sha256 = null, idempotency_hash = null,
    sealed_token = null, fingerprint = null, version = version + 1
  where id = %(id)s and state in ('expiring', 'expired') and verified_at is null
  returning id, expired_at = now() as first, not expiry_announced as unannounced,
    expired_at - coalesce(expires_at, expired_at) as after
), nameless as (
  -- Without a dispatch_at they also leave the index that the reconciler reads.
  update photos set name = null, detail = null, removed = null, sha256 = '', dispatch_at = null, lease_until = null
  from marked where photos.job = marked.id and marked.first
)
select first, unannounced, after, pg_notify(%(channel)s, id::text) from marked;

-- name: expiry_announced
-- JobExpired is in the log.
update jobs set expiry_announced = true where id = %(id)s;

-- name: forget
-- Tombstones are kept long enough to answer questions, not for ever.
delete from jobs where id in (
  select id from jobs where state = 'expired' and expired_at < now() - %(tombstone)s order by expired_at limit 500
);

-- name: subscribe
-- First come, first kept; a dying job tells nobody new.
insert into webhooks (job, url, secret, reference)
select id, %(url)s, %(secret)s, %(reference)s from jobs
where id = %(job)s and state in ('open', 'rendering', 'complete')
on conflict (job) do nothing
returning url, secret, reference;

-- name: subscription
-- Whom the job tells.
select url, secret, reference from webhooks where job = %(job)s;

-- name: enter_deliveries
-- What the ledger says has happened and nobody has been told yet: events are only hints to look here.
-- A job that was never sealed, or never accepted, was never promised to anybody, so its end is not told.
insert into deliveries (job, event, kind, epoch, total, done, failed, occurred_at, expires_at)
select j.id, 'evt_' || replace(j.id::text, '-', '') || '-' || j.epoch || '-' || news.what, 'job.' || news.what,
  j.epoch, j.total, j.done, j.failed, coalesce(j.expired_at, j.completed_at), j.expires_at
from webhooks w
join jobs j on j.id = w.job
join (values ('complete', 'completed'), ('expired', 'expired')) as news (state, what) on news.state = j.state
where (%(job)s::uuid is null or w.job = %(job)s) and j.total is not null
  and j.unaccepted_until is null
on conflict (job, event) do nothing;

-- name: claim_deliveries
-- Taken before anything is sent; who dies with one leaves it due again when the lease is over.
update deliveries d set attempts = d.attempts + 1, next_attempt_at = now() + %(lease)s
from webhooks w join jobs j on j.id = w.job
where d.job = %(job)s and w.job = d.job and d.next_attempt_at <= now()
  and case d.kind
    when 'job.completed' then j.state not in ('expiring', 'expired') and (j.expires_at is null or j.expires_at > now())
    else j.expired_at > now() - %(farewell)s end
returning d.job, d.event, d.kind, d.epoch, d.attempts as number, d.failures, d.total, d.done, d.failed,
  d.occurred_at, d.expires_at, j.created_at, j.completed_at, w.url, w.secret, w.reference;

-- name: record_delivery
-- A success counts always; a failure only of the current attempt. With its last news the job forgets
-- whom it told.
with noted as (
  update deliveries set
    attempted_at = now(), status = %(status)s, outcome = %(outcome)s,
    failures = case when %(delivered)s then 0 else failures + 1 end,
    delivered_at = case when %(delivered)s then now() end,
    given_up_at = case when not %(delivered)s and %(retry_after)s::interval is null then now() end,
    next_attempt_at = case when not %(delivered)s then now() + %(retry_after)s::interval end
  where job = %(job)s and event = %(event)s
    and (%(delivered)s or (attempts = %(number)s and next_attempt_at is not null))
  returning job, kind, next_attempt_at
)
delete from webhooks using noted
where webhooks.job = noted.job and noted.kind = 'job.expired' and noted.next_attempt_at is null;

-- name: postpone_delivery
-- An attempt that was not made.
update deliveries set attempts = attempts - 1, next_attempt_at = now() + %(wait)s
where job = %(job)s and event = %(event)s and attempts = %(number)s and next_attempt_at is not null;

-- name: due_deliveries
-- An order that is out already is given again only after a minute: who should follow it may be behind.
with due as (
  select job, event from deliveries
  where next_attempt_at <= now()
    and (dispatched_at is null or dispatched_at < next_attempt_at or dispatched_at < now() - interval '1 min')
  order by next_attempt_at limit %(limit)s for update skip locked
)
update deliveries d set dispatched_at = now() from due
where d.job = due.job and d.event = due.event
returning d.job;

-- name: end_deliveries
-- Nobody is told of a completion whose links are dead, nor of an end that is long past; then the job
-- forgets whom it told.
with ended as (
  update deliveries d set next_attempt_at = null, given_up_at = now()
  from jobs j
  where j.id = d.job and d.next_attempt_at is not null
    and case d.kind
      when 'job.completed' then j.state in ('expiring', 'expired') or coalesce(j.expires_at <= now(), false)
      else j.expired_at <= now() - %(farewell)s end
  returning d.job
), forgotten as (
  delete from webhooks w using jobs j
  where j.id = w.job and j.state = 'expired' and (j.total is null or j.expired_at <= now() - %(farewell)s)
)
select count(*)::int as given_up from ended;

-- name: oldest_delivery
-- How long somebody has been waiting to be told.
select coalesce(max(now() - due_since), interval '0') as age from deliveries where next_attempt_at is not null;

-- name: deliveries_of
-- What was to be told of a job.
select event, kind, epoch, attempts, occurred_at, attempted_at, next_attempt_at, status, outcome, delivered_at,
  given_up_at
from deliveries where job = %(job)s order by occurred_at, event;

-- name: replay_delivery
-- Due again, whatever became of it, under its old id.
update deliveries set next_attempt_at = now(), due_since = now(), dispatched_at = null, failures = 0,
  delivered_at = null, given_up_at = null
where job = %(job)s and event = %(event)s
returning event, kind, epoch, attempts, occurred_at, attempted_at, next_attempt_at, status, outcome, delivered_at,
  given_up_at;

-- name: enter_letter
-- A repeat changes nothing: neither what became of it, nor when it was entered.
insert into dead_letters (id, subject, reason, topic, partition, "offset", original, job, n, epoch, attempts,
                          first_seen, last_seen)
values (%(id)s, %(subject)s, %(reason)s, %(topic)s, %(partition)s, %(offset)s, %(original)s, %(job)s, %(n)s,
        %(epoch)s, %(attempts)s, %(first_seen)s, %(last_seen)s)
on conflict (id) do nothing
returning id;

-- name: find_letters
-- The last entered first, each with how its photo stands now.
select d.id, d.place, d.reason, d.state, d.topic, d.partition, d."offset", d.job, d.n, d.epoch, d.attempts,
  d.first_seen, d.last_seen, d.entered_at, d.redriven_at, now() - d.entered_at as age,
  (select sum(same.redrives)::int from dead_letters same where same.subject = d.subject) as redrives,
  octet_length(d.original) as size, substring(d.original from 1 for %(preview)s) as preview,
  coalesce(j.state in ('open', 'rendering', 'complete') and (j.expires_at is null or j.expires_at > now()), false)
    as job_lives,
  j.state as job_state,
  p.state as photo_state, p.epoch as photo_epoch
from dead_letters d
left join jobs j on j.id = d.job
left join photos p on p.job = d.job and p.n = d.n
where (%(ids)s::text[] is null or d.id = any(%(ids)s)) and (%(reason)s::text is null or d.reason = %(reason)s)
  and (%(job)s::uuid is null or d.job = %(job)s) and (%(state)s::text is null or d.state = %(state)s)
  and (%(before)s::bigint is null or d.place < %(before)s)
order by d.place desc limit %(limit)s;

-- name: letter_original
-- All that is kept of it.
select original from dead_letters where id = %(id)s;

-- name: redriven_letter
-- It went round again.
update dead_letters set state = 'redriven', redrives = redrives + 1, redriven_at = now() where id = %(id)s;

-- name: resolve_letter
-- It needs no more.
update dead_letters set state = 'resolved' where id = %(id)s returning id;

-- name: settle_letters
-- The photo went on without an operator: its owner retried it, or its result came after all.
update dead_letters d set state = 'resolved' from photos p
where d.state = 'open' and d.partition < 0 and p.job = d.job and p.n = d.n
  and (p.epoch > d.epoch or p.state = 'done');

-- name: forget_letters
-- Kept for as long as the topic keeps them, and no longer.
delete from dead_letters where id in (
  select id from dead_letters where entered_at < now() - %(retention)s order by entered_at limit 500
);

-- name: letter_counts
-- By reason and state.
select reason, state, count(*)::int as letters,
  coalesce(max(now() - entered_at) filter (where state = 'open'), interval '0') as age
from dead_letters group by reason, state order by reason, state;

-- name: clock
-- The one clock that decides.
select now() as now;

-- name: listings
-- How often the prefix was seen empty.
select listings from jobs where id = %(job)s;

-- name: note_deletion
-- Before anything is deleted, so that the counts survive who deletes; a deletion that is taken up again finds
-- less, and counts nothing twice. What is found in a verified job makes it one that is not.
with doubted as (
  update jobs set verified_at = null, delete_at = now() + interval '30 s'
  where id = %(job)s and verified_at is not null
)
insert into deletions (job, listing, originals, results, objects, bytes)
select id, %(listing)s, %(originals)s, %(results)s, %(objects)s, %(bytes)s from jobs where id = %(job)s
on conflict (job, listing) do update set
  originals = greatest(deletions.originals, excluded.originals),
  results = greatest(deletions.results, excluded.results),
  objects = greatest(deletions.objects, excluded.objects),
  bytes = greatest(deletions.bytes, excluded.bytes);

-- name: receipt
-- What was found counts as deleted once the prefix was seen empty after it.
select j.state, j.created_at, j.completed_at, j.expires_at, j.expired_at, j.verified_at, now() as now,
  (select started_at from audits where started_at >= j.verified_at) as audited_at,
  coalesce(sum(d.originals), 0)::int as originals, coalesce(sum(d.results), 0)::int as results,
  coalesce(sum(d.objects), 0)::int as objects, coalesce(sum(d.bytes), 0)::bigint as bytes
from jobs j left join deletions d on d.job = j.id and d.listing < j.listings
where j.receipt_hash = %(receipt_hash)s
group by j.id;

-- name: fates
-- When a job should have been empty follows from its own times, whatever round it is in.
select id, verified_at is not null as verified,
  case state
    when 'open' then upload_deadline + %(grace)s
    when 'rendering' then least(deadline + %(ttl)s, unaccepted_until) + %(grace)s
    when 'complete' then least(expires_at, unaccepted_until) + %(grace)s
    when 'expired' then expired_at + %(quiet)s
    else expires_at + %(grace)s
  end < now() - %(margin)s as overdue
from jobs where id = any(%(jobs)s);

-- name: expected
-- Results of what is done and originals of what has not ended, while the links work.
select p.job, p.n, p.epoch, p.state = 'done' as done, p.sha256
from jobs j join photos p on p.job = j.id
where j.state in ('open', 'rendering', 'complete') and (j.expires_at is null or j.expires_at > now())
  and j.id between %(job)s and %(until)s and (j.id, p.n) > (%(job)s, %(n)s) and p.state <> 'failed'
order by j.id, p.n limit %(limit)s;

-- name: recheck
-- Something is left of what should be empty: the deletion is due once more.
update jobs set verified_at = null, delete_at = now() where id = any(%(jobs)s) and verified_at is not null;

-- name: audited
-- One row: the last audit that came to its end.
insert into audits (started_at, ended_at, objects, bytes, findings)
values (%(started_at)s, now(), %(objects)s, %(bytes)s, %(findings)s)
on conflict (last) do update set started_at = excluded.started_at, ended_at = excluded.ended_at,
  objects = excluded.objects, bytes = excluded.bytes, findings = excluded.findings;
