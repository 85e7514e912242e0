//! From text to pieces of words, and back.

use std::collections::HashMap;

/// A byte pair encoding: a word begins as its bytes, and neighbors are merged in the order
/// in which their pairs were found, until none can be merged.
///
/// A word is a run of letters, or a run of other characters, with the space before it; the
/// end of a line stands alone.
///
/// Source: Sennrich et al. 2016, *Neural Machine Translation of Rare Words with Subword
/// Units*, §3.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    /// The text of each piece.
    texts: Vec<String>,
    /// The piece of a byte.
    bytes: HashMap<u8, usize>,
    /// What two neighbors become. A pair that was merged earlier has a smaller number.
    merges: HashMap<(usize, usize), usize>,
}

impl Pieces {
    /// The encoding in a `tokenizer.json` of this chapter.
    ///
    /// # Errors
    /// When it is not a byte pair encoding whose pieces are numbered in the order in which
    /// they were found.
    pub fn read(tokenizer: &str) -> Result<Pieces, PiecesError> {
        let unreadable =
            |error: serde_json::Error| PiecesError::File(error.to_string());
        let file: File = serde_json::from_str(tokenizer).map_err(unreadable)?;
        let Encoding { vocab, merges } = file.model;
        let mut texts = vec![String::new(); vocab.len()];
        for (text, number) in &vocab {
            let place = texts.get_mut(*number).ok_or(PiecesError::Order)?;
            // Bytes that cannot be seen are written as letters (GPT-2).
            *place = text.replace('Ġ', " ").replace('Ċ', "\n");
        }
        let singles = texts.iter().enumerate().filter(|(_, text)| text.len() == 1);
        let bytes =
            singles.map(|(number, text)| (text.as_bytes()[0], number)).collect();
        let number = |text: &str| vocab.get(text).copied().ok_or(PiecesError::Order);
        let first = vocab.len() - merges.len();
        let merges = merges.iter().zip(first..).map(|((left, right), place)| {
            let merged = number(&format!("{left}{right}"))?;
            let in_order = merged == place;
            let pair = (number(left)?, number(right)?);
            in_order.then_some((pair, merged)).ok_or(PiecesError::Order)
        });
        let merges = merges.collect::<Result<_, _>>()?;
        Ok(Pieces { texts, bytes, merges })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.texts.len()
    }

    /// The text of a piece: nothing, where there is no such piece.
    #[must_use]
    pub fn text(&self, piece: usize) -> &str {
        self.texts.get(piece).map_or("", String::as_str)
    }

    /// The pieces of `text`.
    ///
    /// # Errors
    /// Names the first character that does not occur in the text that the encoding was
    /// found in.
    pub fn encode(&self, text: &str) -> Result<Vec<usize>, PiecesError> {
        let known =
            |c: &char| u8::try_from(*c).is_ok_and(|b| self.bytes.contains_key(&b));
        if let Some(unknown) = text.chars().find(|c| !known(c)) {
            return Err(PiecesError::Unknown(unknown));
        }
        let (mut pieces, mut rest) = (Vec::new(), text.as_bytes());
        while !rest.is_empty() {
            let (word, after) = rest.split_at(word_end(rest));
            pieces.extend(self.merged(word));
            rest = after;
        }
        Ok(pieces)
    }

    /// The text of `pieces`, one after the other.
    #[must_use]
    pub fn decode(&self, pieces: &[usize]) -> String {
        pieces.iter().map(|piece| self.text(*piece)).collect()
    }

    fn merged(&self, word: &[u8]) -> Vec<usize> {
        let mut pieces: Vec<usize> = word.iter().map(|b| self.bytes[b]).collect();
        loop {
            let pairs = pieces.windows(2).enumerate();
            let merges = pairs.filter_map(|(at, pair)| {
                self.merges.get(&(pair[0], pair[1])).map(|merged| (*merged, at))
            });
            let Some((merged, at)) = merges.min() else { return pieces };
            pieces.splice(at..at + 2, [merged]);
        }
    }
}

/// Bytes of the first word.
fn word_end(text: &[u8]) -> usize {
    let kind = |byte: &u8| match byte {
        b' ' | b'\n' => 0,
        letter if letter.is_ascii_alphabetic() => 1,
        _ => 2,
    };
    let space = usize::from(text[0] == b' ');
    match text.get(space).map(kind) {
        None | Some(0) => 1,
        of => {
            text[space..].iter().take_while(|byte| Some(kind(byte)) == of).count()
                + space
        }
    }
}

/// What is read of a `tokenizer.json`.
#[derive(serde::Deserialize)]
struct File {
    model: Encoding,
}

#[derive(serde::Deserialize)]
struct Encoding {
    vocab: HashMap<String, usize>,
    merges: Vec<(String, String)>,
}

/// Why a text has no pieces.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PiecesError {
    /// The file cannot be read.
    #[error("not a tokenizer.json of a byte pair encoding: {0}")]
    File(String),
    /// Pieces are not numbered as they were found.
    #[error("the pieces are not numbered in the order of their merges")]
    Order,
    /// No piece has this character.
    #[error("`{0}` does not occur in the text that the model has read")]
    Unknown(char),
}
