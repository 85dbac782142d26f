-- Tables of hpckit. Runs with search_path set to the schema of the store; PostGIS is there already.
--
-- A record is one row: the signatures of a zone in an acquisition, all bands and statistics in one array.
-- Row header and keys weigh more than the numbers where each band has a row of its own. Records lie in the
-- order of loading, acquisition by acquisition, and so does their key: loading appends to both (a key that
-- began with the zone would be touched all over by every acquisition), an image is one range of the key, and a
-- series one probe of the key per acquisition.

CREATE TABLE schema_version (
    version integer PRIMARY KEY,
    applied timestamptz NOT NULL DEFAULT now(),
    hpckit text NOT NULL
);
COMMENT ON TABLE schema_version IS 'Migrations that were applied';
COMMENT ON COLUMN schema_version.version IS 'Number of the SQL file';
COMMENT ON COLUMN schema_version.applied IS 'When';
COMMENT ON COLUMN schema_version.hpckit IS 'Version of hpckit that applied it';

CREATE TABLE reduction (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    zones_digest text NOT NULL,
    first_zone integer NOT NULL,
    zones integer NOT NULL,
    crs text NOT NULL
);
COMMENT ON TABLE reduction IS 'Reductions and the zone layers that they use';
COMMENT ON COLUMN reduction.id IS 'Key';
COMMENT ON COLUMN reduction.name IS 'Name in the campaign file';
COMMENT ON COLUMN reduction.zones_digest IS 'Digest of identifiers, geometries and CRS of the zone layer';
COMMENT ON COLUMN reduction.first_zone IS 'zone.id of the first zone; they are numbered without gaps';
COMMENT ON COLUMN reduction.zones IS 'Number of zones';
COMMENT ON COLUMN reduction.crs IS 'Coordinate reference system of the original layer, WKT';

CREATE TABLE zone (
    id integer PRIMARY KEY,
    reduction integer NOT NULL REFERENCES reduction (id) ON DELETE CASCADE,
    name text NOT NULL,
    geom geometry(MultiPolygon, 4326) NOT NULL,
    UNIQUE (reduction, name)
);
CREATE INDEX zone_geom ON zone USING gist (geom);
COMMENT ON TABLE zone IS 'Polygons that pixels were reduced over';
COMMENT ON COLUMN zone.id IS 'Key: reduction.first_zone plus the row of the zone layer';
COMMENT ON COLUMN zone.reduction IS 'Reduction that it belongs to';
COMMENT ON COLUMN zone.name IS 'Identifier in the zone layer, as text';
COMMENT ON COLUMN zone.geom IS 'Polygon in longitude and latitude, WGS 84';

CREATE TABLE acquisition (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    level text NOT NULL,
    time timestamptz NOT NULL,
    platform text NOT NULL,
    relative_orbit integer NOT NULL,
    UNIQUE (name, level)
);
CREATE INDEX acquisition_time ON acquisition (time);
COMMENT ON TABLE acquisition IS 'Passes of satellites; a zone has at most one record of each';
COMMENT ON COLUMN acquisition.id IS 'Key';
COMMENT ON COLUMN acquisition.name IS 'Datatake without its baseline: equal for all reprocessings';
COMMENT ON COLUMN acquisition.level IS 'Processing level, L1C or L2A';
COMMENT ON COLUMN acquisition.time IS 'Sensing time';
COMMENT ON COLUMN acquisition.platform IS 'S2A, S2B, …';
COMMENT ON COLUMN acquisition.relative_orbit IS 'Relative orbit, 1 to 143';

CREATE TABLE layout (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest text NOT NULL UNIQUE,
    bands text[] NOT NULL,
    statistics text[] NOT NULL,
    classes jsonb NOT NULL
);
COMMENT ON TABLE layout IS 'What record.data holds: valid by band, total by band, counts by class band and code, statistics by band';
COMMENT ON COLUMN layout.id IS 'Key';
COMMENT ON COLUMN layout.digest IS 'Digest of the other columns';
COMMENT ON COLUMN layout.bands IS 'Bands and indices, in order';
COMMENT ON COLUMN layout.statistics IS 'Statistics of each band, in order';
COMMENT ON COLUMN layout.classes IS 'Class bands in order: [[band, [codes]], …]';

CREATE TABLE layout_band (
    layout integer NOT NULL REFERENCES layout (id),
    band text NOT NULL,
    position integer NOT NULL,
    valid_at integer NOT NULL,
    total_at integer NOT NULL,
    mean_at integer,
    std_at integer,
    min_at integer,
    max_at integer,
    p25_at integer,
    p50_at integer,
    p75_at integer,
    scale real NOT NULL,
    PRIMARY KEY (layout, band)
);
COMMENT ON TABLE layout_band IS 'Where in record.data the numbers of a band stand, counted from 1';
COMMENT ON COLUMN layout_band.layout IS 'Layout';
COMMENT ON COLUMN layout_band.band IS 'Band or index';
COMMENT ON COLUMN layout_band.position IS 'Order of the bands, from 1';
COMMENT ON COLUMN layout_band.valid_at IS 'Place of the pixels that count';
COMMENT ON COLUMN layout_band.total_at IS 'Place of the pixels of the zone';
COMMENT ON COLUMN layout_band.mean_at IS 'Place of the mean';
COMMENT ON COLUMN layout_band.std_at IS 'Place of the standard deviation';
COMMENT ON COLUMN layout_band.min_at IS 'Place of the minimum';
COMMENT ON COLUMN layout_band.max_at IS 'Place of the maximum';
COMMENT ON COLUMN layout_band.p25_at IS 'Place of the first quartile; null if it was not computed';
COMMENT ON COLUMN layout_band.p50_at IS 'Place of the median; null if it was not computed';
COMMENT ON COLUMN layout_band.p75_at IS 'Place of the third quartile; null if it was not computed';
COMMENT ON COLUMN layout_band.scale IS 'Factor to the numbers that JRC stores: 10000 for reflectance';

CREATE TABLE layout_class (
    layout integer NOT NULL REFERENCES layout (id),
    band text NOT NULL,
    code integer NOT NULL,
    count_at integer NOT NULL,
    PRIMARY KEY (layout, band, code)
);
COMMENT ON TABLE layout_class IS 'Where in record.data the pixels of a class stand, counted from 1';
COMMENT ON COLUMN layout_class.layout IS 'Layout';
COMMENT ON COLUMN layout_class.band IS 'Class band, SCL';
COMMENT ON COLUMN layout_class.code IS 'Class';
COMMENT ON COLUMN layout_class.count_at IS 'Place of its pixels, whatever the mask';

CREATE TABLE observation (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    acquisition integer NOT NULL REFERENCES acquisition (id),
    reduction integer NOT NULL REFERENCES reduction (id) ON DELETE CASCADE,
    layout integer NOT NULL REFERENCES layout (id),
    tile text NOT NULL,
    baseline text NOT NULL,
    baseline_rank real NOT NULL,
    products text[] NOT NULL,
    cloud_cover real,
    footprint geometry(Geometry, 4326),
    campaign text NOT NULL,
    campaign_digest text NOT NULL,
    run_id text NOT NULL,
    hpckit text NOT NULL,
    UNIQUE (acquisition, reduction, layout, tile, baseline, products, campaign_digest, run_id, hpckit)
);
CREATE INDEX observation_footprint ON observation USING gist (footprint);
COMMENT ON TABLE observation IS 'Where records come from: an acquisition by tile, baseline and run';
COMMENT ON COLUMN observation.id IS 'Key';
COMMENT ON COLUMN observation.acquisition IS 'Acquisition';
COMMENT ON COLUMN observation.reduction IS 'Reduction';
COMMENT ON COLUMN observation.layout IS 'Layout of the records';
COMMENT ON COLUMN observation.tile IS 'Tile, or tiles joined by +, that the zones were reduced on';
COMMENT ON COLUMN observation.baseline IS 'Processing baseline of the products';
COMMENT ON COLUMN observation.baseline_rank IS 'Order of baselines: a record is replaced by one of equal or greater rank only';
COMMENT ON COLUMN observation.products IS 'Names of the products';
COMMENT ON COLUMN observation.cloud_cover IS 'Percent, from the metadata of the products';
COMMENT ON COLUMN observation.footprint IS 'Footprint of the products, WGS 84';
COMMENT ON COLUMN observation.campaign IS 'Name of the campaign';
COMMENT ON COLUMN observation.campaign_digest IS 'Digest of the campaign file';
COMMENT ON COLUMN observation.run_id IS 'Run that computed it';
COMMENT ON COLUMN observation.hpckit IS 'Version of hpckit that computed it';

CREATE TABLE record (
    zone integer NOT NULL,
    acquisition integer NOT NULL,
    observation integer NOT NULL,
    data real[] NOT NULL,
    PRIMARY KEY (acquisition, zone)
);
COMMENT ON TABLE record IS 'Signatures of a zone in an acquisition; read it through the view signature';
COMMENT ON COLUMN record.zone IS 'zone.id; no foreign key, for its check would double the time of loading';
COMMENT ON COLUMN record.acquisition IS 'acquisition.id';
COMMENT ON COLUMN record.observation IS 'observation.id';
COMMENT ON COLUMN record.data IS 'Numbers in the order of the layout of the observation; cut after the counts where no pixel is valid';

CREATE TABLE ledger (
    spool_id text PRIMARY KEY,
    file text NOT NULL,
    campaign text NOT NULL,
    run_id text NOT NULL,
    reduction integer NOT NULL REFERENCES reduction (id) ON DELETE CASCADE,
    row_count bigint NOT NULL,
    loaded timestamptz NOT NULL DEFAULT now(),
    hpckit text NOT NULL
);
COMMENT ON TABLE ledger IS 'Spool segments that were loaded, in the transaction that loaded them: exactly once';
COMMENT ON COLUMN ledger.spool_id IS 'Identifier of the segment';
COMMENT ON COLUMN ledger.file IS 'Name of its file';
COMMENT ON COLUMN ledger.campaign IS 'Name of the campaign';
COMMENT ON COLUMN ledger.run_id IS 'Run that wrote it';
COMMENT ON COLUMN ledger.reduction IS 'Reduction';
COMMENT ON COLUMN ledger.row_count IS 'Zones times acquisitions in it';
COMMENT ON COLUMN ledger.loaded IS 'When it was loaded';
COMMENT ON COLUMN ledger.hpckit IS 'Version of hpckit that loaded it';
