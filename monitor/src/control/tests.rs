//! docs/reference/control-api.md says what the code does: examples and limits. (Its tables are held by `cli::generate`.)

use api::config::Reload;
use api::openapi::{self, shapes};
use api::shape::Shape;
use api::{Method, client};

use super::request;
use super::server::Limits;

const DOCUMENT: &str = include_str!("../../../docs/reference/control-api.md");

#[test]
fn every_endpoint_has_an_example_for_curl() {
    for endpoint in shapes().into_iter().map(|shape| shape.endpoint) {
        let start = endpoint.path.split('{').next().unwrap_or(endpoint.path);
        let method = format!("-X {} ", endpoint.method.label());
        let is_shown = DOCUMENT.lines().any(|line| {
            line.trim_start().starts_with("curl --unix-socket")
                && line.contains(start)
                && (if endpoint.method == Method::Get {
                    !line.contains("-X ")
                } else {
                    line.contains(&method)
                })
        });
        assert!(is_shown, "no example of {method}{}", endpoint.path);
    }
}

#[test]
fn the_limits_in_the_document_are_those_in_force() {
    let Limits { connections, admin_connections, header_bytes, header_time, request_time, .. } =
        Limits::default();
    for wanted in [
        format!("{connections} connections, and {admin_connections} more for admins"),
        format!("{} KiB of headers", header_bytes / 1024),
        format!("{} MiB of body", request::LARGEST_BODY / 1024 / 1024),
        format!("{} s for the headers", header_time.as_secs()),
        format!("{} s for the body", request::BODY_TIME.as_secs()),
        format!("{} s for the answer", request_time.as_secs()),
        format!("`{}`", openapi::CALLER_HEADER),
        client::DEFAULT_SOCKET.to_owned(),
    ] {
        assert!(DOCUMENT.contains(&wanted), "the document does not say: {wanted}");
    }
    for key in Shape::of::<Reload>().options.into_iter().map(|field| field.name) {
        assert!(DOCUMENT.contains(&format!("`{key}`")), "the document does not explain {key}");
    }
}
