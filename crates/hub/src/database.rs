//! The hub's memory on disk: SQLite, written in one transaction for each thing that happens.

use std::collections::BTreeMap;
use std::path::Path;

use afield_core::ids::HostName;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::gate::Memory;

/// Version of the tables, in SQLite's `user_version`.
const FORMAT: i64 = 1;
/// So many reports of each host are kept.
pub const KEPT_REPORTS: i64 = 200;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS hosts (host TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS reports (
        host TEXT NOT NULL, seq INTEGER NOT NULL, received TEXT NOT NULL, envelope TEXT NOT NULL,
        PRIMARY KEY (host, seq)
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;";

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite says no.
    #[error("the database cannot be used")]
    Sql(#[from] sqlx::Error),
    /// A newer hub wrote it.
    #[error(
        "the database has format {0}, and this hub knows up to {FORMAT}; install the newer hub again"
    )]
    Newer(i64),
    /// Something in it is not what the hub wrote.
    #[error(
        "the database holds something else than it should under {what}: {why}; \
         move the file away: the hub finds what it must know in the repository"
    )]
    Content {
        /// Which entry.
        what: String,
        /// What is wrong.
        why: String,
    },
}

/// An open database. There is one connection, and whoever has it is alone.
#[derive(Debug)]
pub struct Database(SqliteConnection);

/// A report as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Who sent it.
    pub host: HostName,
    /// Its number.
    pub seq: u64,
    /// When, by the hub's clock.
    pub received: Timestamp,
    /// The envelope as JSON.
    pub envelope: String,
}

impl Database {
    /// Opens the database, and makes it if there is none.
    pub async fn open(path: &Path) -> Result<Self, DatabaseError> {
        let file = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        Self::connect(file.synchronous(SqliteSynchronous::Full)).await
    }

    /// A look at the database that changes nothing; an empty one in memory if there is none.
    pub async fn look(path: &Path) -> Result<Self, DatabaseError> {
        if !path.exists() {
            return Self::connect(SqliteConnectOptions::new().in_memory(true)).await;
        }
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let mut connection = options.connect().await?;
        version(&mut connection).await?;
        Ok(Self(connection))
    }

    async fn connect(options: SqliteConnectOptions) -> Result<Self, DatabaseError> {
        let mut connection = options.connect().await?;
        if version(&mut connection).await? < FORMAT {
            sqlx::raw_sql(TABLES).execute(&mut connection).await?;
        }
        Ok(Self(connection))
    }

    /// All that was remembered.
    pub async fn load(&mut self) -> Result<Memory, DatabaseError> {
        let mut records = BTreeMap::new();
        for row in sqlx::query("SELECT host, record FROM hosts").fetch_all(&mut self.0).await? {
            let (host, record): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let name = host.parse().map_err(|e| content(&host, &e))?;
            records.insert(name, parse(&host, &record)?);
        }
        Ok(Memory {
            records,
            rollout: self.fact("rollout").await?.unwrap_or_default(),
            counter: self.fact("counter").await?.unwrap_or_default(),
            last_order: self.fact("last-order").await?.flatten(),
            seen: self.fact("seen").await?.unwrap_or_default(),
        })
    }

    async fn fact<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, DatabaseError> {
        let query = sqlx::query("SELECT value FROM facts WHERE name = ?").bind(name);
        let Some(row) = query.fetch_optional(&mut self.0).await? else {
            return Ok(None);
        };
        let value: String = row.try_get(0)?;
        parse(name, &value).map(Some)
    }

    /// Replaces `old` by `new`, and keeps the reports that led there: all or nothing.
    pub async fn save(
        &mut self,
        old: &Memory,
        new: &Memory,
        reports: &[Received],
    ) -> Result<(), DatabaseError> {
        let mut all = self.0.begin().await?;
        for (name, value) in changed(old, new)? {
            let sql = "INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)";
            sqlx::query(sql).bind(name).bind(value).execute(&mut *all).await?;
        }
        for (host, record) in &new.records {
            if old.records.get(host) == Some(record) {
                continue;
            }
            let sql = "INSERT OR REPLACE INTO hosts (host, record) VALUES (?, ?)";
            sqlx::query(sql).bind(host.as_str()).bind(text(record)?).execute(&mut *all).await?;
        }
        for report in reports {
            let sql = "INSERT OR REPLACE INTO reports (host, seq, received, envelope) VALUES (?, ?, ?, ?)";
            let seq = i64::try_from(report.seq).map_err(|e| content("reports", &e))?;
            let insert = sqlx::query(sql).bind(report.host.as_str()).bind(seq);
            let insert = insert.bind(report.received.to_string()).bind(&report.envelope);
            insert.execute(&mut *all).await?;
        }
        if let Some(last) = reports.last() {
            let sql = "DELETE FROM reports WHERE host = ?1 AND seq NOT IN \
                       (SELECT seq FROM reports WHERE host = ?1 ORDER BY seq DESC LIMIT ?2)";
            let delete = sqlx::query(sql).bind(last.host.as_str()).bind(KEPT_REPORTS);
            delete.execute(&mut *all).await?;
        }
        all.commit().await?;
        Ok(())
    }

    /// How many reports of a host are kept.
    pub async fn count_reports(&mut self, host: &HostName) -> Result<i64, DatabaseError> {
        let query = sqlx::query("SELECT count(*) FROM reports WHERE host = ?").bind(host.as_str());
        Ok(query.fetch_one(&mut self.0).await?.try_get(0)?)
    }
}

/// The facts that are not as before, as JSON.
fn changed(old: &Memory, new: &Memory) -> Result<Vec<(&'static str, String)>, DatabaseError> {
    let mut facts = Vec::new();
    if old.rollout != new.rollout {
        facts.push(("rollout", text(&new.rollout)?));
    }
    if old.counter != new.counter {
        facts.push(("counter", text(&new.counter)?));
    }
    if old.last_order != new.last_order {
        facts.push(("last-order", text(&new.last_order)?));
    }
    if old.seen != new.seen {
        facts.push(("seen", text(&new.seen)?));
    }
    Ok(facts)
}

async fn version(connection: &mut SqliteConnection) -> Result<i64, DatabaseError> {
    let row = sqlx::query("PRAGMA user_version").fetch_one(connection).await?;
    match row.try_get(0)? {
        newer if newer > FORMAT => Err(DatabaseError::Newer(newer)),
        version => Ok(version),
    }
}

fn text<T: Serialize>(value: &T) -> Result<String, DatabaseError> {
    serde_json::to_string(value).map_err(|e| content("JSON", &e))
}

fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, DatabaseError> {
    serde_json::from_str(text).map_err(|e| content(what, &e))
}

fn content(what: &str, why: &dyn std::fmt::Display) -> DatabaseError {
    DatabaseError::Content { what: what.to_owned(), why: why.to_string() }
}
