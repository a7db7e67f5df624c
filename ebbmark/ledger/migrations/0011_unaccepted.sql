-- When a form that is sealed is deleted, unless it was accepted by then, which null says: so what was sealed by a
-- version without this column counts as accepted.
alter table jobs add column unaccepted_until timestamptz;
create index jobs_unaccepted on jobs (unaccepted_until)
  where unaccepted_until is not null and state in ('rendering', 'complete');
