//! The description of the API in the form of `OpenAPI` 3.1, made from the types: served at `/v1/openapi.json` and kept in
//! docs/reference/openapi.json, which a test holds equal.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::audit::{AuditQuery, VerifyAudit};
use crate::backup::BackupRead;
use crate::command::{Command, Endpoint, Method, Role, Versioned};
use crate::error::{Code, MEDIA_TYPE, Problem};
use crate::schema::Address;
use crate::shape::{Field, Shape};
use crate::status::ShowStatus;

/// Where the description is served.
pub const PATH: &str = "/v1/openapi.json";
/// Where the endpoints are listed.
pub const INDEX: &str = "/v1";
/// Carries the address that the client's own SSH connection comes from.
pub const CALLER_HEADER: &str = "sluice-ssh-peer";

/// An endpoint as [`INDEX`] lists it.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Listed {
    pub method: Method,
    pub path: String,
    pub role: Role,
    /// The keys that its query may have, besides the options of a change when it changes something.
    pub query: Vec<String>,
    pub about: String,
}

impl Listed {
    pub fn of(shape: &Shape) -> Self {
        let Endpoint { method, path, role, about, .. } = shape.endpoint;
        let query = shape.query_keys().into_iter().map(str::to_owned).collect();
        Self { method, path: path.to_owned(), role, query, about: about.to_owned() }
    }
}

/// Endpoints that are no command: what the API says about itself.
pub fn about_itself() -> [Listed; 2] {
    [(INDEX, "Lists the endpoints."), (PATH, "This description of the API (OpenAPI 3.1).")].map(
        |(path, about)| Listed {
            method: Method::Get,
            path: path.to_owned(),
            role: Role::Viewer,
            query: Vec::new(),
            about: about.to_owned(),
        },
    )
}

/// Every command's shape, in the order of the reference.
pub fn shapes() -> Vec<Shape> {
    macro_rules! all {
        ($($command:ty,)+) => { vec![
            Shape::of::<ShowStatus>(),
            $(Shape::of::<$command>(),)+
            Shape::of::<AuditQuery>(),
            Shape::of::<VerifyAudit>(),
            Shape::of::<BackupRead>(),
        ] };
    }
    crate::commands!(all)
}

/// The whole description.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    let mut add = |path: &str, method: Method, operation: Value| {
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method.label().to_ascii_lowercase()] = operation;
    };
    let [index, own] = about_itself();
    let list = generator.subschema_for::<Vec<Listed>>().to_value();
    add(&index.path, index.method, of_itself("index", &index.about, &list));
    add(&own.path, own.method, of_itself("openapi", &own.about, &json!({"type": "object"})));
    macro_rules! describe {
        ($($command:ty,)+) => {$(
            let answer = generator.subschema_for::<Versioned<<$command as Command>::Answer>>().to_value();
            let shape = Shape::of::<$command>();
            add(shape.endpoint.path, shape.endpoint.method, operation(&shape, &answer));
        )+};
    }
    describe! { ShowStatus, }
    crate::commands!(describe);
    describe! { AuditQuery, VerifyAudit, BackupRead, }
    let problem = generator.subschema_for::<Problem>().to_value();
    let responses: Map<_, _> =
        Code::ALL.iter().map(|code| (code.label().to_owned(), response(*code, &problem))).collect();
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "sluice control API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
            "description": "HTTP/1.1 and JSON over the Unix socket /run/sluice/control.sock. The kernel attests who the \
                caller is; `x-sluice-role` is the least role that an operation needs. Every error is a problem document \
                (RFC 9457).",
        },
        "servers": [{"url": "http://localhost", "description": "Any host name: the socket is the address."}],
        "paths": paths,
        "components": {
            "schemas": definitions(&mut generator),
            "responses": responses,
            "parameters": {"caller": {
                "name": CALLER_HEADER,
                "in": "header",
                "description": "The address that the caller's own SSH connection comes from, so that no change cuts it off.",
                "required": false,
                "schema": inline::<Address>(),
            }},
        },
    });
    in_plain_words(&mut document);
    document
}

/// Links to items of the code read as names.
fn in_plain_words(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "description" => {
                        *text = text.replace("[`", "`").replace("`]", "`");
                    }
                    value => in_plain_words(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(in_plain_words),
        _ => {}
    }
}

fn definitions(generator: &mut SchemaGenerator) -> Value {
    Value::Object(generator.take_definitions(true))
}

fn inline<T: schemars::JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    T::json_schema(&mut settings.into_generator()).to_value()
}

fn of_itself(id: &str, about: &str, answer: &Value) -> Value {
    let errors = [Code::Invalid, Code::NotPermitted, Code::Unavailable, Code::TimedOut];
    json!({
        "operationId": id,
        "summary": about,
        "x-sluice-role": Role::Viewer,
        "responses": responses(answer, &errors),
    })
}

fn operation(shape: &Shape, answer: &Value) -> Value {
    let Endpoint { name, role, about, .. } = shape.endpoint;
    let mut parameters: Vec<_> = shape.path.iter().map(|field| parameter(field, "path")).collect();
    let in_query = shape.query.iter().chain(&shape.options);
    parameters.extend(in_query.map(|field| parameter(field, "query")));
    parameters.push(json!({"$ref": "#/components/parameters/caller"}));
    let mut operation = json!({
        "operationId": name.replace(" --", "_").replace(' ', "_"),
        "summary": about,
        "x-sluice-role": role,
        "parameters": parameters,
        "responses": responses(answer, &shape.endpoint.errors()),
    });
    if !shape.body.is_empty() {
        let required: Vec<_> =
            shape.body.iter().filter(|field| field.required).map(|field| &field.name).collect();
        let properties: Map<_, _> =
            shape.body.iter().map(|field| (field.name.clone(), field.schema.clone())).collect();
        let schema = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        operation["requestBody"] = json!({
            "required": !required.is_empty(),
            "content": {"application/json": {"schema": schema}},
        });
    }
    operation
}

fn parameter(field: &Field, place: &str) -> Value {
    let mut schema = field.schema.clone();
    without_null(&mut schema);
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    let mut parameter = json!({
        "name": field.name,
        "in": place,
        "required": place == "path" || field.required,
        "schema": schema,
    });
    if let Some(description) = description {
        parameter["description"] = description;
    }
    parameter
}

/// In a query nothing is null: it is left out.
fn without_null(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(forms)) = object.get_mut("anyOf") {
        forms.retain(|form| form != &json!({"type": "null"}));
        if let [only] = forms.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (key, value) in only.as_object().into_iter().flatten() {
                object.entry(key).or_insert_with(|| value.clone());
            }
        }
    }
}

fn responses(answer: &Value, errors: &[Code]) -> Value {
    let mut all = Map::new();
    let ok = json!({"description": "The answer.", "content": {"application/json": {"schema": answer}}});
    all.insert("200".to_owned(), ok);
    for code in errors {
        let reference = json!({"$ref": format!("#/components/responses/{}", code.label())});
        all.insert(code.http_status().to_string(), reference);
    }
    Value::Object(all)
}

fn response(code: Code, problem: &Value) -> Value {
    let schema = json!({
        "allOf": [problem],
        "properties": {"code": {"const": code.label()}, "status": {"const": code.http_status()}},
    });
    json!({
        "description": code.meaning(),
        "x-sluice-exit-code": code.exit_code(),
        "content": {MEDIA_TYPE: {"schema": schema}},
    })
}

#[cfg(test)]
mod tests {
    use super::{document, shapes};

    #[test]
    fn every_command_has_a_name_and_a_place_of_its_own() {
        let shapes = shapes();
        for (position, shape) in shapes.iter().enumerate() {
            for other in &shapes[..position] {
                assert_ne!(shape.endpoint.name, other.endpoint.name);
                assert_ne!(
                    (shape.endpoint.method, shape.endpoint.path),
                    (other.endpoint.method, other.endpoint.path)
                );
            }
        }
    }

    #[test]
    fn every_reference_within_the_description_resolves() {
        let document = document();
        let text = document.to_string();
        let references: Vec<_> =
            text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 100);
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
