-- For the views latest_<reduction>: from the newest acquisition back, until one shows the zone.

CREATE INDEX IF NOT EXISTS acquisition_time ON acquisition (time);
