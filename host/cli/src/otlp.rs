//! Traces by OTLP over HTTP, where the standard environment variables name a collector.
//!
//! The SDK reads the other `OTEL_` variables itself: sampler, headers, time-outs, resource attributes. There is no TLS: a
//! collector listens on the same machine, pod or network, and sends on over TLS.

use crate::exit::Failure;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::runtime::Runtime;
use weir_host::trace::Tracer;

/// Longest wait for a collector.
const TIMEOUT: Duration = Duration::from_secs(10);
/// At the end of a job, what is not yet sent gets so much time.
const SHUTDOWN: Duration = Duration::from_secs(2);
/// Most bytes of a collector's answer.
const ANSWER: usize = 1 << 20;

/// Sends spans in the background. What is still there is sent when it is dropped.
pub struct Traces {
    provider: Option<SdkTracerProvider>,
    abandoned: Cell<bool>,
}

impl Traces {
    /// Starts to send spans if a collector is named.
    ///
    /// # Errors
    /// The settings are wrong, or ask for TLS.
    pub fn start(job: &str, environment: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let set = |name: &str| environment.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let endpoint = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or(set("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let Some(endpoint) = endpoint.filter(|_| !disabled) else { return Ok(Self::of(None)) };
        if !endpoint.starts_with("http://") {
            let refused = format_args!(
                "OTLP endpoint `{endpoint}`: traces are sent as OTLP over HTTP without TLS; give an address such as http://localhost:4318 of a collector nearby"
            );
            return Err(Failure::usage(refused));
        }
        let wrong = |error: &dyn std::fmt::Display| Failure::usage(format_args!("traces to `{endpoint}`: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| wrong(&e))?;
        let http = SpanExporter::builder().with_http().with_http_client(Collector { runtime }).with_protocol(Protocol::HttpBinary);
        let exporter = http.build().map_err(|e| wrong(&e))?;
        let mut resource = Resource::builder().with_attribute(KeyValue::new("weir.job", job.to_owned()));
        if set("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("weir");
        }
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        Ok(Self::of(Some(provider)))
    }

    fn of(provider: Option<SdkTracerProvider>) -> Self {
        Self { provider, abandoned: Cell::new(false) }
    }

    /// The process ends at once: what is not yet sent is not waited for.
    pub fn abandon(&self) {
        self.abandoned.set(true);
    }

    /// What makes the job's spans.
    pub fn tracer(&self) -> Tracer {
        self.provider.as_ref().map(|provider| Tracer::new(provider.tracer("weir"))).unwrap_or_default()
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        let Some(provider) = self.provider.take() else { return };
        if self.abandoned.get() {
            // Its own end would wait.
            std::mem::forget(provider);
        } else if let Err(error) = provider.shutdown_with_timeout(SHUTDOWN) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// The connection to a collector: a new one for each export, which is every few seconds. The exporter's thread has no
/// runtime of its own.
#[derive(Debug)]
struct Collector {
    runtime: Runtime,
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.runtime.block_on(async { tokio::time::timeout(TIMEOUT, send(request)).await? })
    }
}

async fn send(mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let authority = request.uri().authority().ok_or("the endpoint has no host")?.clone();
    let stream = tokio::net::TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse()?;
    *request.uri_mut() = path;
    request.headers_mut().insert("host", authority.as_str().parse()?);
    // What goes wrong with the connection, the request hears too.
    let driven = tokio::spawn(connection);
    let (parts, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, ANSWER).collect().await?.to_bytes();
    driven.abort();
    Ok(Response::from_parts(parts, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(variables: &[(&str, &str)]) -> Result<Traces, Failure> {
        Traces::start("job", &variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn without_an_endpoint_or_when_disabled_nothing_is_traced() {
        assert!(start(&[]).unwrap().provider.is_none());
        assert!(start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap().provider.is_none());
        assert!(start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:1"), ("OTEL_SDK_DISABLED", "true")]).unwrap().provider.is_none());
    }

    #[test]
    fn an_endpoint_with_tls_is_refused_with_what_to_give_instead() {
        let failure = start(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector:4318/v1/traces")]).err().unwrap();
        assert!(failure.message.contains("https://collector:4318/v1/traces"), "{}", failure.message);
        assert!(failure.message.contains("http://localhost:4318"), "{}", failure.message);
    }
}
