//! What is wrong within a file that opens: tables that are missing, rows that no reader understands.
//!
//! In: a connection. Out: a file every row of which can be read, and sentences about what was done. A row is moved into
//! the table `unreadable`, never deleted.

use ipnet::IpNet;
use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::Value as Json;

use super::access::AccessRuleKind;
use super::schema;

type Check = fn(&[Value]) -> bool;

/// Tables whose rows are put in force, the columns that are looked at, and what they must be.
const CHECKED: [(&str, &str, Check); 4] = [
    ("access", "kind, prefix", |row| {
        text(row, 0).is_some_and(|kind| AccessRuleKind::from_label(kind).is_ok())
            && text(row, 1).is_some_and(|prefix| prefix.parse::<IpNet>().is_ok())
    }),
    ("override", "key, value", |row| json(row, 1)),
    ("pending", "restore", |row| json(row, 0)),
    ("finding", "body", |row| json(row, 0)),
];

fn text(row: &[Value], at: usize) -> Option<&str> {
    match row.get(at) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

fn json(row: &[Value], at: usize) -> bool {
    text(row, at).is_some_and(|text| serde_json::from_str::<Json>(text).is_ok())
}

/// Puts right what can be; tells what was wrong.
pub(super) fn examine(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut told = Vec::new();
    for table in schema::make_missing(connection)? {
        told.push(format!("the table `{table}` was missing: it begins empty"));
    }
    for (table, columns, check) in CHECKED {
        let bad = unreadable(connection, table, columns, check)?;
        if bad.is_empty() {
            continue;
        }
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS unreadable (source TEXT NOT NULL, row TEXT NOT NULL) STRICT",
        )?;
        for (rowid, shown) in &bad {
            connection.execute("INSERT INTO unreadable (source, row) VALUES (?1, ?2)", [table, shown])?;
            connection.execute(&format!("DELETE FROM {table} WHERE rowid = ?1"), [rowid])?;
        }
        let first = bad.first().map_or("", |(_, shown)| shown);
        told.push(format!(
            "{} rows of `{table}` could not be read and are set aside, the first is {first}",
            bad.len()
        ));
    }
    Ok(told)
}

fn unreadable(
    connection: &Connection,
    table: &str,
    columns: &str,
    check: Check,
) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut statement = connection.prepare(&format!("SELECT rowid, {columns} FROM {table}"))?;
    let count = statement.column_count();
    let mut rows = statement.query([])?;
    let mut bad = Vec::new();
    while let Some(row) = rows.next()? {
        let values = (1..count).map(|column| row.get::<_, Value>(column)).collect::<Result<Vec<_>, _>>()?;
        if !check(&values) {
            let shown: String = format!("{values:?}").chars().take(200).collect();
            bad.push((row.get(0)?, shown));
        }
    }
    Ok(bad)
}
