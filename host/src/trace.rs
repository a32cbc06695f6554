//! Traces: one of each epoch, off unless the process was given a tracer.
//!
//! A trace begins with the epoch and ends with its commit. Beneath it stands the first batch that each worker reads from
//! each source in that epoch, with the operators and sinks it passes, and the first batch that an operator takes from
//! the exchange. So what tracing costs is bounded by epochs, never by records; without a sampled epoch it is a look at
//! an empty option a batch.

use crate::record::Batch;
use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{Link, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, TraceState, Tracer as _},
};
use opentelemetry_sdk::trace::SdkTracer;

/// So many records of a batch are looked at for a trace to link to.
const LINKED_RECORDS: usize = 32;

/// Makes spans, or none.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<SdkTracer>);

impl Tracer {
    /// Spans go to this tracer, as far as it samples them.
    #[must_use]
    pub fn new(tracer: SdkTracer) -> Self {
        Self(Some(tracer))
    }

    /// The root of an epoch's trace.
    pub(crate) fn epoch(&self, job: &str, epoch: u64) -> Span {
        let Some(tracer) = &self.0 else { return Span::default() };
        let builder = SpanBuilder::from_name("epoch").with_attributes([text("weir.job", job), number("weir.epoch", epoch)]);
        Span::start(tracer, builder, &Context::new())
    }
}

/// A sampled span and what makes its children.
#[derive(Clone, Debug)]
struct Active {
    tracer: SdkTracer,
    context: Context,
}

/// A span under way, or none. It ends when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Span(Parent);

impl Span {
    fn start(tracer: &SdkTracer, builder: SpanBuilder, parent: &Context) -> Self {
        let context = parent.with_span(tracer.build_with_context(builder, parent));
        let sampled = context.span().span_context().is_sampled();
        Self(Parent(sampled.then(|| Active { tracer: tracer.clone(), context })))
    }

    /// What its children begin from.
    pub fn parent(&self) -> &Parent {
        &self.0
    }

    /// Adds a number.
    pub fn set(&self, name: &'static str, value: u64) {
        if let Parent(Some(active)) = &self.0 {
            active.context.span().set_attribute(number(name, value));
        }
    }

    /// Marks it as failed.
    pub fn fail(&self, error: &dyn std::fmt::Display) {
        if let Parent(Some(active)) = &self.0 {
            active.context.span().set_status(Status::error(error.to_string()));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // Children may still hold the context.
        if let Parent(Some(active)) = &self.0 {
            active.context.span().end();
        }
    }
}

/// Where a span hangs, or nowhere: then nothing is traced.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parent(Option<Active>);

impl Parent {
    /// Whether nothing is traced.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// A span beneath this one.
    pub fn child(&self, name: &'static str) -> Span {
        self.build(|| SpanBuilder::from_name(name))
    }

    /// A span beneath this one, for a batch at a source, operator or sink: `place` is the kind of place, `id` its id.
    pub fn batch(&self, place: Place, id: &str, batch: &Batch, more: impl FnOnce() -> Vec<KeyValue>) -> Span {
        self.build(|| {
            let records = number("weir.records", batch.len() as u64);
            let mut attributes = vec![text(place.attribute(), id), records, number("weir.bytes", batch.data_len() as u64)];
            attributes.extend(more());
            let builder = SpanBuilder::from_name(format!("{} {id}", place.name())).with_kind(place.kind()).with_attributes(attributes);
            if place == Place::Source { builder.with_links(links(batch)) } else { builder }
        })
    }

    fn build(&self, builder: impl FnOnce() -> SpanBuilder) -> Span {
        let Some(Active { tracer, context }) = &self.0 else { return Span::default() };
        Span::start(tracer, builder(), context)
    }
}

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Source,
    Operator,
    Sink,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Operator => "operator",
            Self::Sink => "sink",
        }
    }

    fn attribute(self) -> &'static str {
        match self {
            Self::Source => "weir.source",
            Self::Operator => "weir.operator",
            Self::Sink => "weir.sink",
        }
    }

    fn kind(self) -> SpanKind {
        match self {
            Self::Source => SpanKind::Consumer,
            Self::Operator => SpanKind::Internal,
            Self::Sink => SpanKind::Producer,
        }
    }
}

/// An attribute that is a text.
pub(crate) fn text(name: &'static str, value: &str) -> KeyValue {
    KeyValue::new(name, value.to_owned())
}

/// An attribute that is a number.
pub(crate) fn number(name: &'static str, value: u64) -> KeyValue {
    KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX))
}

/// The traces that the first records of a batch belong to, by their header `traceparent`.
fn links(batch: &Batch) -> Vec<Link> {
    if batch.headers().is_none() {
        return Vec::new();
    }
    let mut found: Vec<SpanContext> = Vec::new();
    for row in 0..batch.len().min(LINKED_RECORDS) {
        let header = batch.row_headers(row).find(|(name, _)| *name == b"traceparent");
        let context = header.and_then(|(_, value)| traceparent(value?));
        found.extend(context.filter(|context| !found.contains(context)));
    }
    found.into_iter().map(Link::with_context).collect()
}

/// Version 00 of <https://www.w3.org/TR/trace-context/#traceparent-header>; later ones begin alike.
fn traceparent(value: &[u8]) -> Option<SpanContext> {
    let mut parts = std::str::from_utf8(value).ok()?.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version.len() != 2 || version == "ff" || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
        return None;
    }
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::default())).filter(SpanContext::is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_and_what_is_none_is_not() {
        let context = traceparent(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47xx-00f067aa0ba902b7-01",
            "00-4bf9-00f067aa0ba902b7-01",
        ] {
            assert!(traceparent(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn without_a_tracer_there_is_no_span_and_no_child() {
        let root = Tracer::default().epoch("job", 1);
        assert!(root.parent().is_none());
        assert!(root.parent().child("commit").parent().is_none());
    }
}
