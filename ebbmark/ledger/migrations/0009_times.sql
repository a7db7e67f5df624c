-- What a photo's time line is drawn from, besides its acceptance and the number of its claims. What a version that
-- does not know of them writes is left out.
alter table photos
  add column round_at timestamptz,      -- when its round began; the first begins with the acceptance
  add column claimed_at timestamptz,    -- the last claim
  add column ended_at timestamptz;      -- done or failed
