-- Markers: events that the rules of a campaign found in series, and a view in the shape of JRC's table of markers.

CREATE TABLE marker_rule (
    id serial PRIMARY KEY,
    reduction integer NOT NULL REFERENCES reduction (id) ON DELETE CASCADE,
    name text NOT NULL,
    rule jsonb NOT NULL,
    identity text NOT NULL,
    hpckit text NOT NULL,
    computed timestamptz NOT NULL DEFAULT now(),
    UNIQUE (reduction, name)
);
COMMENT ON TABLE marker_rule IS 'Marker rules of campaigns, as their markers were computed';
COMMENT ON COLUMN marker_rule.id IS 'Key';
COMMENT ON COLUMN marker_rule.reduction IS 'Reduction whose series it reads';
COMMENT ON COLUMN marker_rule.name IS 'Name in the campaign';
COMMENT ON COLUMN marker_rule.rule IS 'The rule';
COMMENT ON COLUMN marker_rule.identity IS 'Digest of the rule and of all that its series were made from';
COMMENT ON COLUMN marker_rule.hpckit IS 'Version of hpckit that computed its markers';
COMMENT ON COLUMN marker_rule.computed IS 'When its markers were computed';

CREATE TABLE marker (
    id bigserial PRIMARY KEY,
    rule integer NOT NULL REFERENCES marker_rule (id) ON DELETE CASCADE,
    zone integer NOT NULL,
    relative_orbit integer,
    time_start timestamptz NOT NULL,
    time_main timestamptz NOT NULL,
    time_end timestamptz NOT NULL,
    value_1 real NOT NULL,
    value_2 real NOT NULL,
    value_3 real NOT NULL,
    confidence real NOT NULL,
    observations text[] NOT NULL
);
CREATE INDEX marker_zone ON marker (zone);
CREATE INDEX marker_of_rule ON marker (rule);
COMMENT ON TABLE marker IS 'Events that marker rules found in series of zones; read it through the view markers';
COMMENT ON COLUMN marker.id IS 'Key';
COMMENT ON COLUMN marker.rule IS 'marker_rule.id';
COMMENT ON COLUMN marker.zone IS 'zone.id; no foreign key, zones are removed together with their rules';
COMMENT ON COLUMN marker.relative_orbit IS 'Relative orbit of series that are split by orbit';
COMMENT ON COLUMN marker.time_start IS 'Last observation before the event';
COMMENT ON COLUMN marker.time_main IS 'First observation that shows it';
COMMENT ON COLUMN marker.time_end IS 'Observation that confirms it';
COMMENT ON COLUMN marker.value_1 IS 'Value at time_start';
COMMENT ON COLUMN marker.value_2 IS 'Value at time_main';
COMMENT ON COLUMN marker.value_3 IS 'Value at time_end';
COMMENT ON COLUMN marker.confidence IS 'From 0 to 1; the how-to "find events of parcels" has the formula';
COMMENT ON COLUMN marker.observations IS 'Acquisitions that it rests on, acquisition.name';

CREATE VIEW markers AS
SELECT p.name AS reduction,
       z.name AS foi_id,
       k.name AS marker,
       k.rule ->> 'kind' AS marker_type,
       (m.time_start AT TIME ZONE 'UTC')::date AS date_start,
       (m.time_main AT TIME ZONE 'UTC')::date AS date_main,
       (m.time_end AT TIME ZONE 'UTC')::date AS date_end,
       (m.time_end AT TIME ZONE 'UTC')::date - (m.time_start AT TIME ZONE 'UTC')::date AS duration_days,
       m.value_1, m.value_2, m.value_3,
       m.zone AS pid,
       k.rule ->> 'practice' AS practice,
       m.confidence,
       k.rule ->> 'band' AS band,
       k.rule ->> 'statistic' AS statistic,
       m.relative_orbit, m.time_start, m.time_main, m.time_end, m.observations
  FROM marker m
  JOIN marker_rule k ON k.id = m.rule
  JOIN reduction p ON p.id = k.reduction
  JOIN zone z ON z.id = m.zone;
COMMENT ON VIEW markers IS 'Markers in the shape of JRC''s table, and what they rest on';
COMMENT ON COLUMN markers.reduction IS 'Reduction';
COMMENT ON COLUMN markers.foi_id IS 'Identifier of the zone';
COMMENT ON COLUMN markers.marker IS 'Name of the rule';
COMMENT ON COLUMN markers.marker_type IS 'drop, rise, above or below';
COMMENT ON COLUMN markers.date_start IS 'Day (UTC) of the last observation before the event';
COMMENT ON COLUMN markers.date_main IS 'Day of the first observation that shows it';
COMMENT ON COLUMN markers.date_end IS 'Day of the observation that confirms it';
COMMENT ON COLUMN markers.duration_days IS 'Days from date_start to date_end';
COMMENT ON COLUMN markers.value_1 IS 'Value at date_start';
COMMENT ON COLUMN markers.value_2 IS 'Value at date_main';
COMMENT ON COLUMN markers.value_3 IS 'Value at date_end';
COMMENT ON COLUMN markers.pid IS 'parcels.ogc_fid';
COMMENT ON COLUMN markers.practice IS 'Agricultural practice that the rule stands for';
COMMENT ON COLUMN markers.confidence IS 'From 0 to 1';
COMMENT ON COLUMN markers.band IS 'Band or index';
COMMENT ON COLUMN markers.statistic IS 'Statistic of the zone';
COMMENT ON COLUMN markers.relative_orbit IS 'Relative orbit of series that are split by orbit';
COMMENT ON COLUMN markers.time_start IS 'Time of the last observation before the event';
COMMENT ON COLUMN markers.time_main IS 'Time of the first observation that shows it';
COMMENT ON COLUMN markers.time_end IS 'Time of the observation that confirms it';
COMMENT ON COLUMN markers.observations IS 'Acquisitions that it rests on';
