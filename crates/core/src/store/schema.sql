-- The store's tables. `events` is the truth; `experiments.state`, `jobs` and `attempts` are made from it and
-- can be made again (Store::rebuild).
CREATE TABLE experiments (
  number   INTEGER PRIMARY KEY,
  id       TEXT NOT NULL UNIQUE,
  title    TEXT NOT NULL,
  state    INTEGER NOT NULL,
  created  INTEGER NOT NULL,          -- microseconds since the epoch, as every time here
  ended    INTEGER,
  plan     TEXT NOT NULL,             -- the plan as JSON, its jobs left out
  document TEXT NOT NULL              -- what it was made from, by whom, where
);
CREATE INDEX experiments_by_title ON experiments (title, number);

CREATE TABLE jobs (
  experiment INTEGER NOT NULL,
  job        INTEGER NOT NULL,
  name       TEXT NOT NULL,
  state      INTEGER NOT NULL,
  cause      INTEGER,
  message    TEXT,
  attempts   INTEGER NOT NULL,        -- how many were begun
  retry_at   INTEGER,
  spent      INTEGER NOT NULL,        -- further attempts spent: 16 bits for each failure class
  PRIMARY KEY (experiment, job)
) WITHOUT ROWID;

CREATE TABLE plans (
  experiment INTEGER NOT NULL,
  job        INTEGER NOT NULL,
  plan       TEXT NOT NULL,
  PRIMARY KEY (experiment, job)
) WITHOUT ROWID;

CREATE TABLE attempts (
  experiment INTEGER NOT NULL,
  job        INTEGER NOT NULL,
  attempt    INTEGER NOT NULL,
  handle     TEXT,
  state      INTEGER NOT NULL,
  cause      INTEGER,
  started    INTEGER,
  ended      INTEGER,
  nodes      TEXT,
  exit_code  INTEGER,
  ended_by   INTEGER,                 -- the event that tells of its end, with the agent's record
  PRIMARY KEY (experiment, job, attempt)
) WITHOUT ROWID;

CREATE TABLE events (
  sequence   INTEGER PRIMARY KEY,
  experiment INTEGER NOT NULL,
  time       INTEGER NOT NULL,
  kind       TEXT NOT NULL
);
CREATE INDEX events_by_experiment ON events (experiment, sequence);

-- What other processes ask of the one that holds the lease.
CREATE TABLE requests (
  sequence   INTEGER PRIMARY KEY,
  experiment INTEGER NOT NULL,
  time       INTEGER NOT NULL,
  request    TEXT NOT NULL
);

CREATE TABLE leases (
  name       TEXT PRIMARY KEY,
  generation INTEGER NOT NULL,
  holder     TEXT NOT NULL,           -- the holder's identity; empty once it was given back
  renewed    INTEGER NOT NULL
) WITHOUT ROWID;
