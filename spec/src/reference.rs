//! The job file's reference as a page, made from its JSON schema.

use serde_json::{Map, Value};
use std::fmt::Write as _;

const HEAD: &str = "\
# The job file

Every field of a job file, made from the types that read it. Unknown fields are refused, with the nearest known one;
`weir check` names every mistake at once, with its line. `spec/job.schema.json` is the same as a JSON schema, for editors.
";

/// The page, in Markdown.
#[must_use]
pub fn reference() -> String {
    let schema = crate::json_schema();
    let mut page = HEAD.to_owned();
    section(&mut page, "Document", &schema);
    // From the outside in: what is named by a section comes after it.
    let mut done: Vec<String> = Vec::new();
    let mut waiting = mentioned(&schema);
    while !waiting.is_empty() {
        let name = waiting.remove(0);
        let definition = schema.get("$defs").and_then(|all| all.get(&name));
        let Some(definition) = definition.filter(|_| !done.contains(&name)) else { continue };
        section(&mut page, &name, definition);
        waiting.extend(mentioned(definition));
        done.push(name);
    }
    page
}

/// Names of the definitions that a part of the schema refers to, in its order.
fn mentioned(node: &Value) -> Vec<String> {
    match node {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str).and_then(|r| r.rsplit('/').next()).map(str::to_owned);
            let inner = fields.iter().filter(|(name, _)| *name != "$defs").flat_map(|(_, value)| mentioned(value));
            own.into_iter().chain(inner).collect()
        }
        Value::Array(items) => items.iter().flat_map(mentioned).collect(),
        _ => Vec::new(),
    }
}

// Writing to a String cannot fail.
fn section(page: &mut String, name: &str, definition: &Value) {
    let _ = writeln!(page, "\n## {name}\n\n{}", text(definition));
    if let Some(fields) = definition["properties"].as_object() {
        let _ = write!(page, "\n| Field | Type | Default | |\n|---|---|---|---|\n");
        fields.iter().for_each(|(field, of)| row(page, field, of, &definition["required"]));
    }
    let choices = ["oneOf", "anyOf"].iter().find_map(|any| definition[*any].as_array());
    if let Some(choices) = choices {
        let _ = write!(page, "\n| Value | |\n|---|---|\n");
        for choice in choices {
            let _ = writeln!(page, "| {} | {} |", value(choice), cell(&text(choice)));
        }
    }
}

fn row(page: &mut String, field: &str, of: &Value, required: &Value) {
    let is_required = required.as_array().is_some_and(|all| all.iter().any(|name| name == field));
    let default = match &of["default"] {
        _ if is_required => "required".to_owned(),
        Value::Null | Value::Object(_) => String::new(),
        Value::Array(items) if items.is_empty() => String::new(),
        default => format!("`{}`", plain(default)),
    };
    let _ = writeln!(page, "| `{field}` | {} | {default} | {} |", type_of(of), cell(&text(of)));
}

/// What stands in a job file for one of several values.
fn value(choice: &Value) -> String {
    if let Some(constant) = choice.get("const") {
        return format!("`{}`", plain(constant));
    }
    match choice["properties"].as_object().and_then(|fields| fields.iter().next()) {
        Some((field, of)) => format!("`{field}:` {}", type_of(of)),
        None => type_of(choice),
    }
}

fn type_of(node: &Value) -> String {
    if let Some(name) = node["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(any) = node["anyOf"].as_array().or(node["allOf"].as_array()) {
        return any.iter().filter(|one| one["type"] != "null").map(type_of).collect::<Vec<_>>().join(" or ");
    }
    let named = match &node["type"] {
        Value::String(name) => name.as_str(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or_default(),
        _ => "",
    };
    match named {
        "array" => format!("list of {}", type_of(&node["items"])),
        "object" if node["additionalProperties"].is_object() => format!("map to {}", type_of(&node["additionalProperties"])),
        "" => "any".to_owned(),
        "object" => "map".to_owned(),
        other => other.to_owned(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn text(node: &Value) -> String {
    let fields = Map::new();
    let node = node.as_object().unwrap_or(&fields);
    node.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A description within a table: on one line, with its bars escaped.
fn cell(text: &str) -> String {
    text.replace("\n\n", " ").replace('\n', " ").replace('|', "\\|")
}
