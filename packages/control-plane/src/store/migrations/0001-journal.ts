/**
 * The journal's first tables, in the SQL that SQLite and PostgreSQL share. `KEY_TEXT` is text that sorts by its
 * bytes in both.
 */
export const JOURNAL_TABLES: readonly string[] = [
  "CREATE TABLE counters (name KEY_TEXT PRIMARY KEY, value BIGINT NOT NULL)",
  "INSERT INTO counters (name, value) VALUES ('sequence', 0)",
  `CREATE TABLE jobs (
    uid KEY_TEXT PRIMARY KEY,
    tenant KEY_TEXT NOT NULL,
    name KEY_TEXT NOT NULL,
    revision BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    finished_ms BIGINT,
    is_final INTEGER NOT NULL,
    document TEXT NOT NULL,
    state TEXT NOT NULL,
    status TEXT NOT NULL,
    complete_step BIGINT NOT NULL
  )`,
  "CREATE UNIQUE INDEX jobs_by_name ON jobs (tenant, name)",
  "CREATE INDEX jobs_unfinished ON jobs (created_ms, uid) WHERE is_final = 0",
  `CREATE TABLE events (
    tenant KEY_TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    uid KEY_TEXT NOT NULL,
    job_name KEY_TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    code TEXT NOT NULL,
    sentence TEXT NOT NULL,
    generation BIGINT NOT NULL,
    step BIGINT NOT NULL,
    severity TEXT NOT NULL,
    PRIMARY KEY (tenant, sequence)
  )`,
  "CREATE INDEX events_by_job ON events (uid, sequence)",
  `CREATE TABLE generations (
    uid KEY_TEXT NOT NULL,
    generation BIGINT NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (uid, generation)
  )`,
  `CREATE TABLE lanes (
    uid KEY_TEXT NOT NULL,
    step BIGINT NOT NULL,
    lane INTEGER NOT NULL,
    loss_sum DOUBLE PRECISION,
    example_ids TEXT NOT NULL,
    trained_tokens BIGINT NOT NULL,
    processed_tokens BIGINT NOT NULL,
    PRIMARY KEY (uid, step, lane)
  )`,
  `CREATE TABLE answers (
    tenant KEY_TEXT NOT NULL,
    request_id KEY_TEXT NOT NULL,
    answer TEXT NOT NULL,
    answered_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, request_id)
  )`,
  "CREATE INDEX answers_by_time ON answers (answered_ms)",
];
