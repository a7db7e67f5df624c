-- Whose claim it is, so that one whose answer was lost can be asked for again; and which jobs are alive,
-- so that a sweep does not read the tombstones.
alter table photos add column claimant uuid;
alter table jobs add column expiry_announced boolean not null default false;
