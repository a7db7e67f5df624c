-- What a photo's original told beside its picture and its result does not: kinds such as the location, in words with
-- commas between. Null while it is not done, when nothing was removed, and once its job is expired.
alter table photos add column removed text;
