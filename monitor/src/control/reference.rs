//! The tables of docs/reference/control-api.md, and docs/reference/openapi.json: endpoints and error codes as declared.

use api::Code;
use api::openapi::{self, Listed, about_itself, shapes};

use super::document::fill;

/// The page with its tables as they should be.
///
/// # Errors
/// When the page lost a heading.
pub fn reference(page: &str) -> Result<String, String> {
    fill(&fill(page, "## Endpoints", &endpoint_rows())?, "## Errors", &error_rows())
}

/// The description of the API as a page.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn description() -> Result<String, String> {
    let text = serde_json::to_string_pretty(&openapi::document()).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

fn endpoint_rows() -> Vec<String> {
    let shapes = shapes();
    let all = about_itself().into_iter().chain(shapes.iter().map(Listed::of));
    all.map(|Listed { method, path, role, query, about }| {
        let keys = query.join(", ");
        let keys = if keys.is_empty() { keys } else { format!("{keys} ") };
        format!("| {} | `{path}` | {} | {keys}| {about} |", method.label(), role.label())
    })
    .collect()
}

fn error_rows() -> Vec<String> {
    let row = |code: &Code| {
        let (status, label, exit) = (code.http_status(), code.label(), code.exit_code());
        format!("| {status} | `{label}` | {exit} | {} |", code.meaning())
    };
    Code::ALL.iter().map(row).collect()
}
