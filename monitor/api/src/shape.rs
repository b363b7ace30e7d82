//! Where the fields of a command travel: in the path, the query or the body, each with its schema.
//!
//! In: a command's type. Out: its [`Shape`], from which the server reads requests and the description is written.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::command::{ChangeOptions, Command, Endpoint, Method};

/// How a command is asked for.
#[derive(Clone, Debug)]
pub struct Shape {
    pub endpoint: Endpoint,
    /// The variables of the path, in its order.
    pub path: Vec<Field>,
    /// Fields in the query.
    pub query: Vec<Field>,
    /// The options of a change, which are in its query too.
    pub options: Vec<Field>,
    /// Fields in the body.
    pub body: Vec<Field>,
}

/// A field of a request.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub schema: Value,
    pub required: bool,
}

impl Field {
    /// Whether its text is a whole number.
    pub fn is_integer(&self) -> bool {
        self.schema.get("type").is_some_and(|kind| kind == "integer")
    }
}

impl Shape {
    pub fn of<C: Command>() -> Self {
        let mut rest = fields::<C>();
        let endpoint = C::ENDPOINT;
        let mut path = Vec::new();
        for variable in variables(endpoint.path) {
            let position = rest.iter().position(|field| field.name == variable);
            path.extend(position.map(|position| rest.remove(position)));
        }
        let (query, body) = if endpoint.method.has_body() { (Vec::new(), rest) } else { (rest, Vec::new()) };
        let options = if endpoint.method == Method::Get { Vec::new() } else { fields::<ChangeOptions>() };
        Self { endpoint, path, query, options, body }
    }

    /// The fields in the query by name.
    pub fn query_keys(&self) -> Vec<&str> {
        self.query.iter().map(|field| field.name.as_str()).collect()
    }
}

/// The members of a request's object.
fn fields<T: JsonSchema>() -> Vec<Field> {
    let settings =
        SchemaSettings::draft2020_12().for_deserialize().with(|settings| settings.inline_subschemas = true);
    let schema = T::json_schema(&mut settings.into_generator());
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    properties
        .iter()
        .map(|(name, schema)| Field {
            name: name.clone(),
            schema: schema.clone(),
            required: required.iter().any(|key| key == name),
        })
        .collect()
}

/// The names between braces.
pub fn variables(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}

#[cfg(test)]
mod tests {
    use super::{Shape, variables};
    use crate::access::AccessRemove;
    use crate::history::Revert;
    use crate::limits::LimitSet;

    #[test]
    fn fields_travel_in_the_path_else_in_the_query_or_the_body() {
        let names = |fields: &[super::Field]| -> Vec<String> {
            fields.iter().map(|field| field.name.clone()).collect()
        };
        let remove = Shape::of::<AccessRemove>();
        assert_eq!((names(&remove.path), names(&remove.query)), (vec!["list".into()], vec!["prefix".into()]));
        assert!(remove.query[0].required);
        let set = Shape::of::<LimitSet>();
        assert_eq!(names(&set.path), ["service"]);
        assert_eq!(set.body.len(), 10, "{set:?}");
        assert!(Shape::of::<Revert>().path[0].is_integer());
    }

    #[test]
    fn every_variable_of_a_path_is_a_field() {
        macro_rules! check {
            ($($command:ty,)+) => {$(
                let shape = Shape::of::<$command>();
                assert_eq!(shape.path.len(), variables(shape.endpoint.path).count(), "{}", shape.endpoint.path);
            )+};
        }
        crate::commands!(check);
    }
}
