//! Word count, first half: each line becomes its words in lower case, keyed by the word.

use weir_sdk::Result;
use weir_sdk::transform::{Context, Declare, Record, Transform};

/// Splits lines into words.
pub struct Split {
    word: Vec<u8>,
}

impl Transform for Split {
    fn init(_declare: &mut Declare, _config: &str) -> Result<Self> {
        Ok(Self { word: Vec::new() })
    }

    /// Splits where Java's `\W+` does: words are runs of ASCII letters, digits and `_`. A null value has no words.
    fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
        let line = record.value.unwrap_or_default();
        let words = line.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
        for word in words.filter(|word| !word.is_empty()) {
            self.word.clear();
            self.word.extend(word.iter().map(u8::to_ascii_lowercase));
            cx.output().key(&self.word).value("").send();
        }
        Ok(())
    }
}

weir_sdk::transform!(Split);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Split;
    use weir_sdk::testing::{Row, TransformTest};

    fn words(line: &str) -> Vec<String> {
        let mut test = TransformTest::<Split>::new("{}").unwrap();
        let batch = test.batch(&[Row::value(line)]).unwrap();
        batch.outputs.iter().map(|output| output.row.key_text().to_owned()).collect()
    }

    #[test]
    fn words_are_lower_case_and_split_at_all_that_is_no_word_character() {
        assert_eq!(words("  To be, or NOT to_be:  2b?"), ["to", "be", "or", "not", "to_be", "2b"]);
    }

    #[test]
    fn letters_outside_ascii_split_words_as_in_java() {
        assert_eq!(words("naïve"), ["na", "ve"]);
    }

    #[test]
    fn a_line_without_words_gives_nothing() {
        assert_eq!(words(" ,.- "), [""; 0]);
    }
}
