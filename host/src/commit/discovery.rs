//! Partitions and topics that come and go while the job runs (rule 16).

use super::{Error, SplitInfo, task::Task};
use crate::{clock, kafka};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// Topics and partitions of all Kafka sources.
pub(crate) type Found = BTreeSet<(String, i32)>;

/// Looks at what there is to read, now and then.
pub(crate) struct Discovery {
    interval: Duration,
    look: Arc<dyn Fn() -> Result<Found, kafka::Error> + Send + Sync>,
    last: Instant,
    looking: Option<Task<Found>>,
}

impl Discovery {
    /// `look` asks the brokers, and may take its time.
    pub fn new(interval: Duration, look: impl Fn() -> Result<Found, kafka::Error> + Send + Sync + 'static) -> Self {
        Self { interval, look: Arc::new(look), last: clock::monotonic(), looking: None }
    }

    /// Looks when it is time, and compares what was found with what is read.
    ///
    /// # Errors
    /// [`Error::NewPartition`]: the next attempt reads it from its first record. One that is gone is named.
    pub fn poll(&mut self, splits: &[SplitInfo]) -> Result<(), Error> {
        let Some(looking) = &self.looking else {
            if clock::since(self.last) >= self.interval {
                self.last = clock::monotonic();
                let look = self.look.clone();
                self.looking = Some(Task::start("weir-discovery", move || Ok(look()?))?);
            }
            return Ok(());
        };
        let found = match looking.poll() {
            Ok(None) => return Ok(()),
            Ok(Some(found)) => found,
            Err(Error::Kafka(error)) if error.is_transient() => {
                tracing::warn!(%error, "new partitions could not be looked for; trying again later");
                self.looking = None;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.looking = None;
        let known: BTreeSet<_> = splits.iter().filter(|s| s.kafka).map(|s| (s.topic.clone(), s.partition)).collect();
        if let Some((topic, partition)) = known.difference(&found).next().cloned() {
            return Err(kafka::Error::MissingPartition { topic, partition }.into());
        }
        match found.difference(&known).next().cloned() {
            Some((topic, partition)) => Err(Error::NewPartition { topic, partition }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn poll_until_done(discovery: &mut Discovery, splits: &[SplitInfo]) -> Result<(), Error> {
        discovery.poll(splits)?;
        while discovery.looking.is_some() {
            discovery.poll(splits)?;
        }
        Ok(())
    }

    fn split(partition: i32) -> SplitInfo {
        SplitInfo { source: "in".into(), topic: "t".into(), partition, kafka: true, next: 0 }
    }

    fn finding(found: &[i32]) -> Discovery {
        let found: Found = found.iter().map(|partition| ("t".to_owned(), *partition)).collect();
        Discovery::new(Duration::ZERO, move || Ok(found.clone()))
    }

    #[test]
    fn what_is_new_and_what_is_gone_is_named_and_all_else_goes_on() {
        let splits = [split(0), split(1)];
        assert!(poll_until_done(&mut finding(&[0, 1]), &splits).is_ok());
        let new = poll_until_done(&mut finding(&[0, 1, 2]), &splits).unwrap_err();
        assert!(matches!(new, Error::NewPartition { partition: 2, .. }), "{new}");
        let gone = poll_until_done(&mut finding(&[0, 2]), &splits).unwrap_err();
        assert!(matches!(gone, Error::Kafka(kafka::Error::MissingPartition { partition: 1, .. })), "{gone}");
    }

    #[test]
    fn a_broker_that_is_away_is_asked_again_and_a_missing_topic_ends_the_job() {
        let away = kafka::Error::Broker { action: "look".into(), reason: "down".into(), transient: true };
        assert!(poll_until_done(&mut Discovery::new(Duration::ZERO, move || Err(away.clone())), &[]).is_ok());
        let missing = || Err(kafka::Error::MissingTopic { topic: "t".into() });
        assert!(poll_until_done(&mut Discovery::new(Duration::ZERO, missing), &[]).is_err());
    }
}
