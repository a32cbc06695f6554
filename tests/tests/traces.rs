//! Traces by OTLP: a collector that decodes what it is sent sees a record's way from source to commit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use weir_tests::broker::broker;
use weir_tests::job::{Job, operator};
use weir_tests::records::Record;
use weir_tests::weir::{Folder, code};

const DEADLINE: Duration = Duration::from_secs(60);

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|a| (a.key.clone(), a.value.as_ref().and_then(|v| v.value.as_ref()).map(text).unwrap_or_default())).collect()
}

#[derive(Clone, Default)]
struct Received {
    spans: Arc<Mutex<Vec<Span>>>,
    resource: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Received {
    fn take(&self, headers: &HeaderMap, body: Bytes) -> StatusCode {
        if headers["content-type"] != "application/x-protobuf" {
            return StatusCode::UNSUPPORTED_MEDIA_TYPE;
        }
        let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
        for of_resource in request.resource_spans {
            self.resource.lock().unwrap().extend(texts(&of_resource.resource.unwrap().attributes));
            self.spans.lock().unwrap().extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        StatusCode::OK
    }

    fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

/// A collector on a free loopback port; ends when dropped.
struct Collector {
    address: String,
    received: Received,
    stop: Option<(tokio::sync::oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Collector {
    fn start() -> Self {
        let received = Received::default();
        let (taker, (stop, stopped)) = (received.clone(), tokio::sync::oneshot::channel());
        let (bound, address) = sync_channel(1);
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap().to_string()).unwrap();
                let take = move |headers: HeaderMap, body: Bytes| async move { taker.take(&headers, body) };
                let router = Router::new().route("/v1/traces", post(take));
                tokio::select! {
                    end = axum::serve(listener, router) => end.unwrap(),
                    _ = stopped => {}
                }
            });
        };
        let thread = Builder::new().name("collector".into()).spawn(run).unwrap();
        Self { address: address.recv().unwrap(), received, stop: Some((stop, thread)) }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.stop.take() {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn job(name: &str, input: &str, output: &str) -> Job {
    Job::new(name)
        .source("in", broker().source(input))
        .operator(operator("pass", "passthrough", "in", json!({})))
        .operator(operator("count", "count", "pass", json!({ "key": "record" })))
        .sink("out", &["count"], broker().sink(output))
}

fn traced(name: &str, records: &[Record], workers: &str, collector: &Collector, variable: (&str, &str)) {
    let (input, output) = (broker().topic("traced", 1), broker().topic("out", 1));
    broker().produce(&input, records);
    let folder = Folder::new()
        .with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{}", collector.address))
        .with_variable("OTEL_BSP_SCHEDULE_DELAY", "100")
        .with_variable(variable.0, variable.1);
    folder.run(&job(name, &input, &output), &["--until-end", "--workers", workers], DEADLINE).expect(code::OK);
}

/// The one span of a trace with this name, and its attributes.
#[track_caller]
fn one<'s>(trace: &'s [&'s Span], name: &str) -> (&'s Span, BTreeMap<String, String>) {
    let found: Vec<_> = trace.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "spans named {name}: {trace:#?}");
    (found[0], texts(&found[0].attributes))
}

#[test]
fn a_trace_leads_from_source_to_commit_and_links_to_the_records_own() {
    let collector = Collector::start();
    let mut records: Vec<Record> = (0..100).map(|i| Record::keyed(format!("key-{}", i % 10), "value")).collect();
    records[3].headers = vec![("traceparent".to_owned(), Some(format!("00-{TRACE}-{SPAN}-01").into_bytes()))];
    traced("traced", &records, "1", &collector, ("OTEL_TRACES_SAMPLER", "always_on"));
    let spans = collector.received.spans();
    let read = spans.iter().find(|span| span.name == "source in").unwrap_or_else(|| panic!("no source among {spans:#?}"));
    let trace: Vec<&Span> = spans.iter().filter(|span| span.trace_id == read.trace_id).collect();

    let (root, attributes) = one(&trace, "epoch");
    assert!(root.parent_span_id.is_empty(), "{root:#?}");
    assert_eq!(attributes["weir.job"], "traced");
    let (source, attributes) = one(&trace, "source in");
    assert_eq!((&attributes["weir.source"], &attributes["weir.worker"]), (&"in".to_owned(), &"0".to_owned()));
    assert_eq!((&attributes["messaging.destination.partition.id"], &attributes["messaging.kafka.offset"]), (&"0".into(), &"0".into()));
    assert!(attributes["messaging.destination.name"].starts_with("traced"), "{attributes:?}");
    assert_eq!(attributes["weir.records"], "100");
    let linked: Vec<_> = source.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect();
    assert_eq!(linked, [(TRACE.to_owned(), SPAN.to_owned())]);

    // Each hangs on the one before.
    let mut parent = root;
    for name in ["source in", "operator pass", "operator count", "sink out"] {
        let (span, _) = one(&trace, name);
        assert_eq!(span.parent_span_id, parent.span_id, "the parent of {name} is not {}", parent.name);
        assert!(span.start_time_unix_nano >= parent.start_time_unix_nano && span.end_time_unix_nano >= span.start_time_unix_nano);
        parent = span;
    }
    let (commit, _) = one(&trace, "commit");
    assert_eq!(commit.parent_span_id, root.span_id);
    assert!(commit.start_time_unix_nano >= source.end_time_unix_nano);
    for name in ["flush outputs", "put checkpoint", "commit offsets"] {
        assert_eq!(one(&trace, name).0.parent_span_id, commit.span_id, "{name}");
    }
    assert_ne!(one(&trace, "put checkpoint").1["weir.bytes"], "0");
    let resource = collector.received.resource.lock().unwrap().clone();
    assert_eq!((&resource["service.name"], &resource["weir.job"]), (&"weir".to_owned(), &"traced".to_owned()));
}

#[test]
fn what_tracing_sends_depends_on_epochs_and_not_on_records() {
    let collector = Collector::start();
    let records: Vec<Record> = (0..50_000).map(|i| Record::keyed(format!("key-{}", i % 100), "value")).collect();
    traced("many", &records, "2", &collector, ("OTEL_SERVICE_NAME", "counters"));
    let spans = collector.received.spans();
    assert_eq!(collector.received.resource.lock().unwrap()["service.name"], "counters");
    let epochs = spans.iter().filter(|span| span.name == "epoch").count();
    assert!(epochs > 0, "nothing was traced");
    // Source, operator, and one for each of two workers behind the exchange with its sink; commit with its three parts.
    assert!(spans.len() <= epochs * 12, "{} spans of {epochs} epochs", spans.len());
    // Behind the exchange they hang on the epoch.
    let roots: Vec<_> = spans.iter().filter(|span| span.name == "epoch").map(|span| &span.span_id).collect();
    let counted: Vec<_> = spans.iter().filter(|span| span.name == "operator count").collect();
    assert!(!counted.is_empty() && counted.iter().all(|span| roots.contains(&&span.parent_span_id)), "{counted:#?}");
}

#[test]
fn what_is_not_sampled_or_is_disabled_is_not_sent() {
    let collector = Collector::start();
    let records: Vec<Record> = (0..100).map(|i| Record::keyed(format!("key-{i}"), "value")).collect();
    traced("unsampled", &records, "1", &collector, ("OTEL_TRACES_SAMPLER", "always_off"));
    traced("disabled", &records, "1", &collector, ("OTEL_SDK_DISABLED", "true"));
    assert_eq!(collector.received.spans(), Vec::<Span>::new());
}

#[test]
fn a_collector_that_is_not_there_or_does_not_answer_costs_no_record() {
    let (input, output) = (broker().topic("uncollected", 1), broker().topic("out", 1));
    let records: Vec<Record> = (0..100).map(|i| Record::keyed(format!("key-{i}"), "value")).collect();
    broker().produce(&input, &records);
    // Nobody listens there; and here one listens, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for (name, address) in [("uncollected", "127.0.0.1:1".to_owned()), ("unanswered", silent.local_addr().unwrap().to_string())] {
        let folder = Folder::new().with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}"));
        folder.run(&job(name, &input, &output), &["--until-end"], DEADLINE).expect(code::OK);
    }
    assert_eq!(broker().records(&output).len(), 2 * records.len());
}
