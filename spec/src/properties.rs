//! librdkafka properties as the job file gives them, and the secrets among them.
//!
//! A secret stands in a job only as a reference, so a job can be shown, stored and logged as it is. The value is
//! fetched by [`Properties::resolve`] when a client is made, and [`ResolvedProperties`] hides it from `Debug`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// librdkafka properties by name, passed on to the client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Properties(pub BTreeMap<String, Property>);

/// One property's value. Integers and booleans are taken as their text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Property {
    /// The value itself.
    Text(#[schemars(with = "Scalar")] String),
    /// Where the value is found when the job starts.
    Reference(SecretRef),
}

/// A value as YAML has it; integers and booleans are taken as their text.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Scalar {
    Text(String),
    Integer(i64),
    Boolean(bool),
}

/// Where a secret is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SecretRef {
    /// An environment variable of the process that runs the job.
    Env(String),
    /// A file, relative to the job file's folder; line ends at its end are dropped.
    File(PathBuf),
}

/// A reference that could not be resolved. Never holds a secret's value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not set, or not Unicode.
    #[error("property `{property}`: the environment variable `{name}` is not set")]
    Unset {
        /// The property that refers to it.
        property: String,
        /// The variable's name.
        name: String,
    },
    /// The file cannot be read as text.
    #[error("property `{property}`: cannot read the secret in {}: {source}", path.display())]
    Unreadable {
        /// The property that refers to it.
        property: String,
        /// The file, joined to the job file's folder.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// The variable or file holds nothing.
    #[error("property `{property}`: the secret it refers to is empty")]
    Empty {
        /// The property that refers to it.
        property: String,
    },
}

impl Properties {
    /// The properties with each reference replaced by its value. `variable` looks up the environment; `folder` is the
    /// job file's, to which files are relative.
    ///
    /// # Errors
    /// The first reference, by the property's name, that leads to nothing.
    pub fn resolve(&self, variable: impl Fn(&str) -> Option<String>, folder: &Path) -> Result<ResolvedProperties, SecretError> {
        let mut resolved = BTreeMap::new();
        for (property, value) in &self.0 {
            let value = match value {
                Property::Text(text) => Resolved { value: text.clone(), secret: false },
                Property::Reference(reference) => Resolved { value: reference.fetch(property, &variable, folder)?, secret: true },
            };
            resolved.insert(property.clone(), value);
        }
        Ok(ResolvedProperties(resolved))
    }
}

impl SecretRef {
    fn fetch(&self, property: &str, variable: impl Fn(&str) -> Option<String>, folder: &Path) -> Result<String, SecretError> {
        let property = property.to_owned();
        let value = match self {
            Self::Env(name) => match variable(name) {
                Some(value) => value,
                None => return Err(SecretError::Unset { property, name: name.clone() }),
            },
            Self::File(file) => {
                let path = folder.join(file);
                match std::fs::read_to_string(&path) {
                    Ok(text) => text.trim_end_matches(['\r', '\n']).to_owned(),
                    Err(source) => return Err(SecretError::Unreadable { property, path, source }),
                }
            }
        };
        if value.is_empty() { Err(SecretError::Empty { property }) } else { Ok(value) }
    }
}

/// Properties ready for a client. `Debug` shows what the job file shows: no resolved value.
#[derive(Clone, PartialEq, Eq)]
pub struct ResolvedProperties(BTreeMap<String, Resolved>);

#[derive(Clone, PartialEq, Eq)]
struct Resolved {
    value: String,
    secret: bool,
}

impl ResolvedProperties {
    /// Names and values, by name. The values may be secrets: hand them to the client and nowhere else.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, resolved)| (name.as_str(), resolved.value.as_str()))
    }
}

impl fmt::Debug for ResolvedProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |resolved: &Resolved| if resolved.secret { "(secret)".to_owned() } else { resolved.value.clone() };
        f.debug_map().entries(self.0.iter().map(|(name, resolved)| (name, shown(resolved)))).finish()
    }
}

impl<'de> Deserialize<'de> for Property {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;
        impl<'de> Visitor<'de> for Value {
            type Value = Property;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an integer, true or false, {env: NAME} or {file: PATH}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Property, E> {
                Ok(Property::Text(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Property, E> {
                Ok(Property::Text(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Property, E> {
                Ok(Property::Text(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Property, E> {
                Ok(Property::Text(value.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Property, A::Error> {
                SecretRef::deserialize(MapAccessDeserializer::new(map)).map(Property::Reference)
            }
        }
        deserializer.deserialize_any(Value)
    }
}

/// Whether a property of this name holds a secret. Names that end in a file's place are not secrets themselves.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let names_a_file = [".location", ".file", ".keytab"].iter().any(|suffix| name.ends_with(suffix));
    !names_a_file && ["password", "passphrase", "secret", "key"].iter().any(|part| name.contains(part))
}

/// Why a property is not the user's to set, with the way to get what it does; `None` for all that are passed on.
pub(crate) fn owned(name: &str) -> Option<&'static str> {
    Some(match name {
        "bootstrap.servers" | "metadata.broker.list" => "set `brokers` instead",
        "auto.offset.reset" => "set `startPosition` instead: it applies to a new run only",
        "compression.codec" | "compression.type" => "set `compression` instead",
        "group.id" | "group.instance.id" | "group.protocol" | "group.remote.assignor" | "partition.assignment.strategy" => {
            "remove it: the consumer group is named and assigned by Weir"
        }
        "client.id" | "transactional.id" => "remove it: Weir names its clients after the job, to fence older ones",
        "transaction.timeout.ms" | "message.timeout.ms" | "delivery.timeout.ms" => {
            "remove it: Weir derives time-outs from the checkpoint settings"
        }
        "enable.auto.commit"
        | "auto.commit.enable"
        | "auto.commit.interval.ms"
        | "enable.auto.offset.store"
        | "isolation.level"
        | "enable.partition.eof" => "remove it: offsets are committed with the checkpoint, and only committed records are read",
        "enable.idempotence"
        | "enable.gapless.guarantee"
        | "acks"
        | "request.required.acks"
        | "retries"
        | "message.send.max.retries"
        | "max.in.flight"
        | "max.in.flight.requests.per.connection" => "remove it: exactly-once needs an idempotent producer with all acknowledgements",
        "partitioner" => "remove it: keys are hashed as the Java client does, so that topics line up",
        "plugin.library.paths" | "ssl.engine.location" | "ssl.providers" | "sasl.kerberos.kinit.cmd" => {
            "remove it: a job file must not run native code or commands on the host"
        }
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unwrap_in_result)]
mod tests {
    use super::*;

    fn properties(reference: SecretRef) -> Properties {
        Properties(BTreeMap::from([
            ("sasl.password".to_owned(), Property::Reference(reference)),
            ("sasl.username".to_owned(), Property::Text("weir".to_owned())),
        ]))
    }

    #[test]
    fn a_resolved_secret_reaches_the_client_and_no_dump() {
        let unresolved = properties(SecretRef::Env("KAFKA_PASSWORD".to_owned()));
        let environment = |name: &str| (name == "KAFKA_PASSWORD").then(|| "hunter2".to_owned());
        let resolved = unresolved.resolve(environment, Path::new("")).unwrap();
        let pairs: Vec<_> = resolved.iter().collect();
        assert_eq!(pairs, [("sasl.password", "hunter2"), ("sasl.username", "weir")]);
        assert_eq!(format!("{resolved:?}"), r#"{"sasl.password": "(secret)", "sasl.username": "weir"}"#);
        let json = serde_json::to_string(&unresolved).unwrap();
        assert_eq!(json, r#"{"sasl.password":{"env":"KAFKA_PASSWORD"},"sasl.username":"weir"}"#);
    }

    #[test]
    fn a_secret_file_is_relative_to_the_folder_and_loses_its_last_line_end() {
        let folder = std::env::temp_dir().join(format!("weir-spec-secret-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("password"), "hunter2\r\n").unwrap();
        let resolved = properties(SecretRef::File("password".into())).resolve(|_| None, &folder);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(resolved.unwrap().iter().next(), Some(("sasl.password", "hunter2")));
    }

    #[test]
    fn a_reference_that_leads_to_nothing_is_named() {
        let unset = properties(SecretRef::Env("NOPE".to_owned()));
        let error = unset.resolve(|_| None, Path::new("")).unwrap_err();
        assert_eq!(error.to_string(), "property `sasl.password`: the environment variable `NOPE` is not set");
        let error = unset.resolve(|_| Some(String::new()), Path::new("")).unwrap_err();
        assert_eq!(error.to_string(), "property `sasl.password`: the secret it refers to is empty");
        let error = properties(SecretRef::File("no/such".into())).resolve(|_| None, Path::new("jobs")).unwrap_err();
        assert!(error.to_string().starts_with("property `sasl.password`: cannot read the secret in jobs/no/such: "));
    }

    #[test]
    fn names_of_files_are_no_secrets() {
        assert!(is_secret("ssl.key.password") && is_secret("ssl.key.pem") && is_secret("SASL.Password"));
        assert!(!is_secret("ssl.key.location") && !is_secret("sasl.kerberos.keytab") && !is_secret("fetch.min.bytes"));
    }
}
