-- Requests under way with a job, and those that were answered 202 for it. One that fails takes itself out; a job
-- that none holds any more is deleted. The nil attempt stands for a version that does not know of them.
alter table jobs add attempts uuid[] not null default array['00000000-0000-0000-0000-000000000000'::uuid];
