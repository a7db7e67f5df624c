-- When a sealed job is deleted unless its orders were in the log by then. Null once they were, so a job that was
-- sealed by a version without this column counts as accepted.
alter table jobs add column unaccepted_until timestamptz;
create index jobs_unaccepted on jobs (unaccepted_until) where unaccepted_until is not null;
