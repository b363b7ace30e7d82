//! The tables of docs/reference/control-api.md: endpoints and error codes as they are declared.

use super::document::fill;
use super::endpoint::Method;
use super::problem::Code;
use super::router::endpoints;

/// The page with its tables as they should be.
///
/// # Errors
/// When the page lost a heading.
pub fn reference(page: &str) -> Result<String, String> {
    fill(&fill(page, "## Endpoints", &endpoint_rows())?, "## Errors", &error_rows())
}

/// The name of a method on the wire.
pub const fn name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
    }
}

fn endpoint_rows() -> Vec<String> {
    let mut rows = vec!["| GET | `/v1` | viewer | | Lists the endpoints. |".to_owned()];
    rows.extend(endpoints().table.iter().map(|endpoint| {
        let keys = endpoint.query.join(", ");
        let keys = if keys.is_empty() { keys } else { format!("{keys} ") };
        let (path, role) = (endpoint.path, endpoint.role.label());
        format!("| {} | `{path}` | {role} | {keys}| {} |", name(endpoint.method), endpoint.about)
    }));
    rows
}

fn error_rows() -> Vec<String> {
    let row = |code: &Code| {
        let (status, label, exit) = (code.http_status(), code.label(), code.exit_code());
        format!("| {status} | `{label}` | {exit} | {} |", code.meaning())
    };
    Code::ALL.iter().map(row).collect()
}
