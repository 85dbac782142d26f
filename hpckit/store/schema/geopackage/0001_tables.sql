-- Tables of hpckit in a GeoPackage. A reduction adds three things of its own:
--   zones_<reduction>      spatial layer (GDAL writes it), feature number = row of the zone layer + 1
--   record_<reduction>     one row per zone and acquisition, a column per band and statistic
--   signature_<reduction>  view: one row per zone, acquisition and band, for people and QGIS

CREATE TABLE IF NOT EXISTS gpkg_spatial_ref_sys (
    srs_name TEXT NOT NULL,
    srs_id INTEGER NOT NULL PRIMARY KEY,
    organization TEXT NOT NULL,
    organization_coordsys_id INTEGER NOT NULL,
    definition TEXT NOT NULL,
    description TEXT
);
INSERT OR IGNORE INTO gpkg_spatial_ref_sys VALUES
    ('Undefined Cartesian SRS', -1, 'NONE', -1, 'undefined', 'undefined Cartesian coordinate reference system'),
    ('Undefined geographic SRS', 0, 'NONE', 0, 'undefined', 'undefined geographic coordinate reference system'),
    ('WGS 84 geodetic', 4326, 'EPSG', 4326,
     'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],AXIS["Latitude",NORTH],AXIS["Longitude",EAST],AUTHORITY["EPSG","4326"]]',
     'longitude and latitude on the WGS 84 ellipsoid');

CREATE TABLE IF NOT EXISTS gpkg_contents (
    table_name TEXT NOT NULL PRIMARY KEY,
    data_type TEXT NOT NULL,
    identifier TEXT UNIQUE,
    description TEXT DEFAULT '',
    last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE,
    srs_id INTEGER REFERENCES gpkg_spatial_ref_sys (srs_id)
);

CREATE TABLE IF NOT EXISTS gpkg_geometry_columns (
    table_name TEXT NOT NULL UNIQUE REFERENCES gpkg_contents (table_name),
    column_name TEXT NOT NULL,
    geometry_type_name TEXT NOT NULL,
    srs_id INTEGER NOT NULL REFERENCES gpkg_spatial_ref_sys (srs_id),
    z TINYINT NOT NULL,
    m TINYINT NOT NULL,
    PRIMARY KEY (table_name, column_name)
);

-- Migrations that were applied.
CREATE TABLE hpckit_schema (
    version INTEGER PRIMARY KEY,
    applied DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

-- One row per spool segment that was loaded: what makes loading exactly once.
CREATE TABLE hpckit_ledger (
    id INTEGER PRIMARY KEY,
    spool_id TEXT NOT NULL UNIQUE,
    file TEXT NOT NULL,
    campaign TEXT NOT NULL,
    run_id TEXT NOT NULL,
    reduction TEXT NOT NULL,
    row_count INTEGER NOT NULL,          -- zones times acquisitions that the segment holds
    hpckit TEXT NOT NULL,                -- version that loaded it
    loaded DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

-- Zone layer, bands, statistics and class codes (JSON) of a reduction.
CREATE TABLE hpckit_reduction (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    zones_digest TEXT NOT NULL,
    zones INTEGER NOT NULL,
    bands TEXT NOT NULL DEFAULT '[]',
    statistics TEXT NOT NULL DEFAULT '[]',
    classes TEXT NOT NULL DEFAULT '{}'
);

-- One row per pass of a satellite: what a zone has at most one record of.
CREATE TABLE acquisition (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,                  -- datatake without its baseline
    level TEXT NOT NULL,
    time DATETIME NOT NULL,              -- UTC
    platform TEXT NOT NULL,
    relative_orbit INTEGER NOT NULL,
    UNIQUE (name, level)
);

-- One row per acquisition, tile, baseline and run: where records come from.
CREATE TABLE observation (
    id INTEGER PRIMARY KEY,
    acquisition INTEGER NOT NULL REFERENCES acquisition (id),
    reduction INTEGER NOT NULL REFERENCES hpckit_reduction (id),
    tile TEXT NOT NULL,                  -- tiles joined by +
    baseline TEXT NOT NULL,
    baseline_rank REAL NOT NULL,         -- order of baselines: the greater one stays
    products TEXT NOT NULL,              -- JSON list
    cloud_cover REAL,                    -- percent
    footprint TEXT,                      -- GeoJSON
    campaign TEXT NOT NULL,
    campaign_digest TEXT NOT NULL,
    run_id TEXT NOT NULL,
    hpckit TEXT NOT NULL,                -- version that computed it
    UNIQUE (acquisition, reduction, tile, baseline, products, campaign_digest, run_id, hpckit)
);

INSERT OR REPLACE INTO gpkg_contents (table_name, data_type, identifier, description) VALUES
    ('acquisition', 'attributes', 'acquisition', 'Passes of satellites'),
    ('observation', 'attributes', 'observation', 'Acquisitions by tile, baseline and run'),
    ('hpckit_ledger', 'attributes', 'hpckit_ledger', 'Spool segments that were loaded');
