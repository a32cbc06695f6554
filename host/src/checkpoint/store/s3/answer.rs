//! What the server's answers mean, where the client hands on no more than their text.

/// Whether the same question may be answered later.
pub(super) fn is_transient(error: &object_store::Error) -> bool {
    use object_store::Error as E;
    match error {
        // A refusal stays one, but for time-outs, conflicts and too many questions.
        E::Generic { .. } => status(&error.to_string()).is_none_or(|status| status >= 500 || [408, 409, 429].contains(&status)),
        E::AlreadyExists { .. } | E::Precondition { .. } | E::NotFound { .. } | E::JoinError { .. } => true,
        _ => false,
    }
}

/// The HTTP status in an error's text: the client has it nowhere else for questions that are about no single object.
pub(super) fn status(text: &str) -> Option<u16> {
    text.split_once("status code: ")?.1.get(..3)?.parse().ok()
}

/// What the server said, out of its XML.
pub(super) fn said(text: &str) -> Option<String> {
    let of = |tag: &str| Some(text.split_once(&format!("<{tag}>"))?.1.split_once(&format!("</{tag}>"))?.0);
    Some(format!("{}: {}", of("Code")?, of("Message")?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_final_and_said_in_the_servers_words_and_trouble_of_the_server_is_not() {
        let error = |text: &str| object_store::Error::Generic { store: "S3", source: text.into() };
        let refused =
            "Server returned non-2xx status code: 403 Forbidden: <Error><Code>No</Code><Message>Not you.</Message><X>y</X></Error>";
        assert!(!is_transient(&error(refused)));
        assert_eq!(said(refused).as_deref(), Some("No: Not you."));
        for trouble in ["status code: 503 Slow Down", "status code: 429 Too Many Requests", "connection refused"] {
            assert!(is_transient(&error(trouble)), "{trouble}");
            assert_eq!(said(trouble), None);
        }
    }
}
