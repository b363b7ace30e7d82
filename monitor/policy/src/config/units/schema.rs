//! How a rate looks in JSON, for descriptions of the API.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Rate;

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An amount per second, minute or hour, kept as it was written: of packets, connections or \
                fragments as in \"2k/s\" and \"100/min\", of bytes as in \"10 MB/s\" and \"50 Mbit/s\".",
            "pattern": "^[0-9]+(\\.[0-9]+)? ?([kKMG]?|[kMGT]?(B|bit)|[KMG]iB)/(s|min|h)$",
            "examples": ["2k/s", "100/min", "50 Mbit/s"],
        })
    }
}
