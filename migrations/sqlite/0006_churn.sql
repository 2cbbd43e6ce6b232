-- Roll-up: peers that came and went, by day. Told again until the day is three days old, since only later does one know who
-- has gone for good.
CREATE TABLE daily_churn (
    day  INTEGER PRIMARY KEY NOT NULL,      -- seconds: start of the day (UTC)
    came INTEGER NOT NULL,                  -- peers that passed a probe for the first time on that day
    gone INTEGER NOT NULL                   -- peers that passed last on that day and not for a day since
);
