//! The vocabulary of a GGUF, in the words of a `tokenizer.json`.

use crate::gguf::described::{Described, Odd};
use crate::gguf::header::Header;
use crate::gguf::value::{Kind, List, Reader, Value};
use crate::words::brief;
use serde_json::{Map, Value as Json, json};
use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Merges, Vocab};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";

/// A token that stands for no text, and one that is kept whole.
const CONTROL: i128 = 3;
const USER_DEFINED: i128 = 4;

const ELSEWHERE: &str = "give the folder of that model with tokenizer.json";

/// How a text is cut before its pieces are merged into tokens, by the names that
/// llama.cpp gives.
///
/// Source: `llama-vocab.cpp` of llama.cpp, and the `tokenizer.json` of the models that
/// the names come from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    /// GPT-2's pattern.
    Gpt2,
    /// Each digit alone, and then GPT-2's pattern: `SmolLM` and `StarCoder`.
    Digits,
    /// Llama 3's pattern; a piece that is a token is not merged from smaller ones.
    Llama3,
    /// Qwen 2's pattern, after the text was composed (NFC).
    Qwen2,
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Cut {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "gpt-2" => Cut::Gpt2,
            "smollm" | "starcoder" => Cut::Digits,
            "llama-bpe" | "llama3" | "llama-v3" => Cut::Llama3,
            "qwen2" => Cut::Qwen2,
            _ => return None,
        })
    }

    fn pre_tokenizer(self) -> Json {
        let bytes = |use_regex| {
            json!({
                "type": "ByteLevel",
                "add_prefix_space": false,
                "trim_offsets": true,
                "use_regex": use_regex,
            })
        };
        let first = match self {
            Cut::Gpt2 => return bytes(true),
            Cut::Digits => json!({"type": "Digits", "individual_digits": true}),
            Cut::Llama3 => split(LLAMA3),
            Cut::Qwen2 => split(QWEN2),
        };
        let pieces = [first, bytes(self == Cut::Digits)];
        json!({"type": "Sequence", "pretokenizers": pieces})
    }
}

fn split(pattern: &str) -> Json {
    let pattern = json!({"Regex": pattern});
    json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false})
}

impl<'a> Described<'a> {
    /// The `tokenizer.json` that says the same, but for the vocabulary, which is
    /// [`Described::vocabulary`]: as JSON it would take many times its size.
    pub(crate) fn tokenizer(self) -> Result<Json, Odd> {
        let (cut, tokens) = (self.cut()?, self.texts(TOKENS)?);
        let normalizer = (cut == Cut::Qwen2).then(|| json!({"type": "NFC"}));
        Ok(json!({
            "version": "1.0",
            "added_tokens": [],
            "normalizer": normalizer,
            "pre_tokenizer": cut.pre_tokenizer(),
            "post_processor": self.surroundings(cut, &tokens)?,
            "decoder": {
                "type": "ByteLevel",
                "add_prefix_space": true,
                "trim_offsets": true,
                "use_regex": true,
            },
            "model": {"type": "BPE", "vocab": {}, "merges": []},
        }))
    }

    fn cut(self) -> Result<Cut, Odd> {
        self.expect_text(MODEL, |model| model == "gpt2", "gpt2")?;
        let cuts = "gpt-2, smollm, starcoder, llama-bpe and qwen2";
        let pre = self.expect_text(PRE, |pre| Cut::of(pre).is_some(), cuts)?;
        Ok(Cut::of(pre).unwrap_or(Cut::Gpt2))
    }

    /// The tokens, and how pieces of a text are merged into them. They are of bytes: each
    /// token is a text in which a letter stands for a byte, as in GPT-2.
    pub(crate) fn vocabulary(self) -> Result<tokenizers::Result<BPE>, Odd> {
        let vocab = vocab(&self.texts(TOKENS)?)?;
        let whole = self.cut()? == Cut::Llama3;
        let bpe = BPE::builder().vocab_and_merges(vocab, self.merges()?);
        Ok(bpe.ignore_merges(whole).build())
    }

    /// The text that has to be one of those that are known.
    fn expect_text(
        self,
        key: &str,
        known: impl Fn(&str) -> bool,
        names: &str,
    ) -> Result<&'a str, Odd> {
        let found = self.header.text(self.file, key);
        found.filter(|found| known(found)).ok_or_else(|| Odd {
            key: key.to_owned(),
            found: found.map_or("not there".to_owned(), brief),
            wanted: format!("{names} can be read here: {ELSEWHERE}"),
        })
    }

    /// A list of texts.
    fn texts(self, key: &str) -> Result<Vec<&'a str>, Odd> {
        let odd = |found: String| Odd {
            key: key.to_owned(),
            found,
            wanted: format!("a list of texts in UTF-8 can be read here: {ELSEWHERE}"),
        };
        let list = self.header.list(key, Kind::Text);
        let list = list.ok_or_else(|| odd("no list of texts".to_owned()))?;
        let text = |value| match value {
            Value::Text(at) => std::str::from_utf8(&self.file[at]).ok(),
            _ => None,
        };
        let all: Option<Vec<&str>> = list.values(self.file).map(text).collect();
        all.ok_or_else(|| odd("no text in UTF-8 in one of its entries".to_owned()))
    }

    /// The tokens that are found in a text before it is cut.
    pub(crate) fn added(self) -> Result<Vec<AddedToken>, Odd> {
        let tokens = self.texts(TOKENS)?;
        let Some(types) = self.header.list(TYPES, Kind::I32) else {
            return Ok(Vec::new());
        };
        if types.length != tokens.len() {
            return Err(Odd {
                key: TYPES.to_owned(),
                found: format!("a list of {}", types.length),
                wanted: format!("there are {} tokens: {ELSEWHERE}", tokens.len()),
            });
        }
        let added = |(text, kind): (&&str, Value)| {
            let special = match kind {
                Value::Whole(CONTROL) => true,
                Value::Whole(USER_DEFINED) => false,
                _ => return None,
            };
            Some(AddedToken::from((*text).to_owned(), special).normalized(false))
        };
        Ok(tokens.iter().zip(types.values(self.file)).filter_map(added).collect())
    }

    /// What the model wants around a text.
    fn surroundings(self, cut: Cut, tokens: &[&str]) -> Result<Json, Odd> {
        let flag = |key: &str| match self.header.metadata.get(key) {
            Some(Value::Bool(yes)) => Some(*yes),
            _ => None,
        };
        // Older files of Llama 3 do not say that it wants a beginning.
        let begins = flag("tokenizer.ggml.add_bos_token").unwrap_or(cut == Cut::Llama3);
        let ends = flag("tokenizer.ggml.add_eos_token").unwrap_or(false);
        let mut template = vec![json!({"Sequence": {"id": "A", "type_id": 0}})];
        let mut specials = Map::new();
        for (at_end, name) in [(false, "bos"), (true, "eos")] {
            if !(if at_end { ends } else { begins }) {
                continue;
            }
            let (id, token) = self.end(name, tokens)?;
            specials.insert(
                token.to_owned(),
                json!({"id": token, "ids": [id], "tokens": [token]}),
            );
            let place = if at_end { template.len() } else { 0 };
            template
                .insert(place, json!({"SpecialToken": {"id": token, "type_id": 0}}));
        }
        if specials.is_empty() {
            return Ok(Json::Null);
        }
        Ok(json!({
            "type": "TemplateProcessing",
            "single": template,
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": specials,
        }))
    }

    /// The token of that name, `bos` or `eos`: its number and its text.
    fn end<'t>(self, name: &str, tokens: &[&'t str]) -> Result<(usize, &'t str), Odd> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let value = self.header.metadata.get(&key);
        let id = match value {
            Some(Value::Whole(id)) => usize::try_from(*id).ok(),
            _ => None,
        };
        let token = id.and_then(|id| Some((id, *tokens.get(id)?)));
        token.ok_or_else(|| Odd {
            found: value.map_or("not there".to_owned(), |value| self.shown(value)),
            wanted: format!("there are {} tokens: {ELSEWHERE}", tokens.len()),
            key,
        })
    }

    /// The text of the token of that name, if the file names one.
    pub(crate) fn end_text(self, name: &str) -> Option<String> {
        let tokens = self.texts(TOKENS).ok()?;
        self.end(name, &tokens).ok().map(|(_, token)| token.to_owned())
    }

    /// The template by which messages become a text.
    pub(crate) fn chat_template(self) -> Option<&'a str> {
        self.header.text(self.file, "tokenizer.chat_template")
    }

    /// Which two tokens become one, the first merges first. A token may hold a space only
    /// in front.
    fn merges(self) -> Result<Merges, Odd> {
        let pair = |merge: &&str| {
            let after = merge.char_indices().nth(1).map(|(at, _)| at)?;
            let space = after + merge[after..].find(' ')?;
            Some((merge[..space].to_owned(), merge[space + 1..].to_owned()))
        };
        let merges = self.texts(MERGES)?;
        let pairs: Option<Merges> = merges.iter().map(pair).collect();
        pairs.ok_or_else(|| Odd {
            key: MERGES.to_owned(),
            found: "no pair in one of its entries".to_owned(),
            wanted: format!(
                "each entry is two tokens with a space between: {ELSEWHERE}"
            ),
        })
    }
}

impl Header {
    /// The list that `key` has, if it has one of this kind.
    fn list(&self, key: &str, kind: Kind) -> Option<&List> {
        match self.metadata.get(key)? {
            Value::List(list) if list.kind == kind => Some(list),
            _ => None,
        }
    }
}

impl List {
    /// Its values, one after the other.
    fn values<'a>(&self, file: &'a [u8]) -> impl Iterator<Item = Value> + use<'a> {
        let (kind, mut reader) = (self.kind, Reader::new(file, self.at.start));
        // They were read once already, to find where the list ends.
        (0..self.length).map_while(move |_| reader.one(kind).ok())
    }
}

/// The number of each token.
fn vocab(tokens: &[&str]) -> Result<Vocab, Odd> {
    let mut vocab = Vocab::with_capacity(tokens.len());
    for (id, token) in (0_u32..).zip(tokens) {
        if let Some(first) = vocab.insert((*token).to_owned(), id) {
            return Err(Odd {
                key: TOKENS.to_owned(),
                found: format!("`{}` twice, as {first} and {id}", brief(token)),
                wanted: format!("a token has one number: {ELSEWHERE}"),
            });
        }
    }
    Ok(vocab)
}
