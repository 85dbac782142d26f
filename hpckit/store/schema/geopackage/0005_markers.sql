-- Markers: events that the rules of a campaign found in series, in the shape of JRC's table of markers.

CREATE TABLE IF NOT EXISTS hpckit_marker_rule (
    id INTEGER PRIMARY KEY,
    reduction INTEGER NOT NULL REFERENCES hpckit_reduction (id),
    name TEXT NOT NULL,
    rule TEXT NOT NULL,                  -- JSON, as it was computed
    identity TEXT NOT NULL,              -- digest of the rule and of all that its series were made from
    hpckit TEXT NOT NULL,                -- version that computed it
    computed DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    UNIQUE (reduction, name)
);

CREATE TABLE IF NOT EXISTS markers (
    id INTEGER PRIMARY KEY,
    rule INTEGER NOT NULL REFERENCES hpckit_marker_rule (id),
    reduction TEXT NOT NULL,
    foi_id TEXT NOT NULL,                -- identifier of the zone
    marker TEXT NOT NULL,                -- name of the rule
    marker_type TEXT NOT NULL,           -- drop, rise, above or below
    date_start DATE NOT NULL,            -- last observation before the event
    date_main DATE NOT NULL,             -- first observation that shows it
    date_end DATE NOT NULL,              -- observation that confirms it
    duration_days INTEGER NOT NULL,      -- from date_start to date_end
    value_1 REAL NOT NULL,               -- at date_start
    value_2 REAL NOT NULL,               -- at date_main
    value_3 REAL NOT NULL,               -- at date_end
    pid INTEGER NOT NULL,                -- fid of the zone in its layer
    practice TEXT,
    confidence REAL NOT NULL,            -- 0 to 1
    band TEXT NOT NULL,
    statistic TEXT NOT NULL,
    relative_orbit INTEGER,              -- of series that are split by orbit
    time_start DATETIME NOT NULL,        -- UTC
    time_main DATETIME NOT NULL,
    time_end DATETIME NOT NULL,
    observations TEXT NOT NULL           -- JSON list of the acquisitions that it rests on
);
CREATE INDEX IF NOT EXISTS markers_zone ON markers (reduction, foi_id);
CREATE INDEX IF NOT EXISTS markers_rule ON markers (rule);

INSERT OR REPLACE INTO gpkg_contents (table_name, data_type, identifier, description) VALUES
    ('markers', 'attributes', 'markers', 'Events that the marker rules of campaigns found in series of zones');
