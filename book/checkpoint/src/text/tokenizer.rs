//! Text into tokens and back.

use crate::model::Model;
use crate::open_error::OpenError;
use crate::text::chat::{Chat, Message, Reply};
use crate::weights::opened::Weights;
use crate::words::{brief, count};
use serde_json::Value as Json;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The longest `tokenizer.json` that is read, in bytes. Those of 250,000 tokens have 20
/// million.
const LONGEST: u64 = 256 << 20;

/// Text into tokens and back, as the model was trained on it: Hugging Face's `tokenizers`
/// with the vocabulary of a `tokenizer.json` or of a GGUF.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
    chat: Option<Chat>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, or that of a folder, or the vocabulary of a `.gguf` file.
    ///
    /// # Errors
    /// When there is none, or it is of a kind that is not understood, or damaged.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if path.is_dir() {
            return Tokenizer::json(&path.join("tokenizer.json"));
        }
        let begin = fs::File::open(path).and_then(|mut file| {
            let mut begin = [0; 4];
            std::io::Read::read_exact(&mut file, &mut begin).map(|()| begin)
        });
        match begin {
            Ok([b'G', b'G', b'U', b'F']) => Tokenizer::of(&Weights::open(path)?),
            _ => Tokenizer::json(path),
        }
    }

    /// The vocabulary of a GGUF that is open.
    pub(crate) fn of(weights: &Weights) -> Result<Self, OpenError> {
        let path = weights.path();
        let Some(described) = weights.described() else {
            let what =
                "it has no vocabulary: give a folder with tokenizer.json".to_owned();
            return Err(OpenError::Tokenizer { path: path.to_path_buf(), what });
        };
        let json = described.tokenizer().map_err(|odd| odd.told(path))?;
        let chat = described.chat_template().map(|template| Chat {
            template: template.to_owned(),
            bos: described.end_text("bos"),
            eos: described.end_text("eos"),
        });
        let vocabulary = described.vocabulary().map_err(|odd| odd.told(path))?;
        let vocabulary = vocabulary.map_err(|why| refused(path, &why.to_string()))?;
        let added = described.added().map_err(|odd| odd.told(path))?;
        let mut tokenizer = Tokenizer::parse(path, json, chat)?;
        tokenizer.inner.with_model(vocabulary);
        let all = tokenizer.inner.add_tokens(added);
        all.map_err(|why| refused(path, &why.to_string()))?;
        Ok(tokenizer)
    }

    fn json(path: &Path) -> Result<Self, OpenError> {
        let unreadable = |why| OpenError::Unreadable { path: path.to_path_buf(), why };
        let about = match fs::metadata(path) {
            Ok(about) if about.is_file() => about,
            Ok(_) => return Err(unreadable(std::io::Error::other("it is no file"))),
            Err(why) => return Err(no_tokenizer(path, why)),
        };
        if about.len() > LONGEST {
            let length = count(about.len(), "byte");
            let what = format!("{length}, and a tokenizer has at most {LONGEST}");
            return Err(OpenError::Tokenizer { path: path.to_path_buf(), what });
        }
        let text = fs::read(path).map_err(unreadable)?;
        // Read here, since the library panics at what is no JSON within a decoder.
        let json = serde_json::from_slice(&text);
        let json = json.map_err(|why| refused(path, &why.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Tokenizer::parse(path, json, chat_of(folder))
    }

    fn parse(path: &Path, json: Json, chat: Option<Chat>) -> Result<Self, OpenError> {
        let inner = serde_json::from_value::<tokenizers::Tokenizer>(json);
        let mut inner = inner.map_err(|why| refused(path, &why.to_string()))?;
        // Some files keep how long the texts of their training were. A model does not
        // read less of a text for that.
        let whole = inner.with_truncation(None).map(|_| ());
        whole.map_err(|why| refused(path, &why.to_string()))?;
        inner.with_padding(None);
        Ok(Tokenizer { path: path.to_path_buf(), inner, chat })
    }

    /// Refuses a vocabulary that is not that of a model with so many tokens: a token that
    /// it does not have, or far fewer than it has. (Models often have some rows that no
    /// token uses.)
    ///
    /// # Errors
    /// When it belongs to another model.
    pub fn expect_vocab(&self, vocab: u64) -> Result<(), OpenError> {
        let last = self.inner.get_vocab(true).into_values().max();
        let tokens = last.map_or(0, |last| u64::from(last) + 1);
        if tokens <= vocab && tokens >= vocab - vocab / 8 {
            return Ok(());
        }
        let what = format!(
            "it has {}, and the model has {vocab}: it belongs to another model",
            count(tokens, "token")
        );
        Err(OpenError::Tokenizer { path: self.path.clone(), what })
    }

    /// The tokens of a text, with those around it that the model wants (`[CLS]`, `<s>`).
    /// Special tokens that are written out in the text are found.
    ///
    /// # Errors
    /// When the vocabulary has nothing for a part of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, OpenError> {
        self.encoded(text, true)
    }

    /// The same, without tokens around it.
    ///
    /// # Errors
    /// As for [`Tokenizer::encode`].
    pub fn encode_bare(&self, text: &str) -> Result<Vec<u32>, OpenError> {
        self.encoded(text, false)
    }

    fn encoded(&self, text: &str, around: bool) -> Result<Vec<u32>, OpenError> {
        let encoding = self.inner.encode_fast(text, around);
        Ok(encoding.map_err(|why| self.failed(&why))?.get_ids().to_vec())
    }

    /// The text of some tokens, special ones included.
    ///
    /// # Errors
    /// When a part of the vocabulary is not understood.
    pub fn decode(&self, ids: &[u32]) -> Result<String, OpenError> {
        self.inner.decode(ids, false).map_err(|why| self.failed(&why))
    }

    /// The text of some tokens, special ones left out.
    ///
    /// # Errors
    /// As for [`Tokenizer::decode`].
    pub fn decode_plain(&self, ids: &[u32]) -> Result<String, OpenError> {
        self.inner.decode(ids, true).map_err(|why| self.failed(&why))
    }

    /// The text of tokens that come one by one.
    #[must_use]
    pub fn stream(&self) -> TokenStream<'_> {
        let mut stream = self.inner.decode_stream(true);
        TokenStream { tokenizer: self, step: Box::new(move |id| stream.step(id)) }
    }

    /// One token as text, for a label. Tokens that are a part of a letter give `�`.
    #[must_use]
    pub fn piece(&self, id: u32) -> String {
        self.decode(&[id]).unwrap_or_default()
    }

    /// The number of a token, by how the vocabulary spells it.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// How many tokens there are.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether the model came with a template for conversations.
    #[must_use]
    pub fn has_chat(&self) -> bool {
        self.chat.is_some()
    }

    /// A conversation as the text that the model continues. It holds special tokens, and
    /// goes to [`Tokenizer::encode_bare`].
    ///
    /// # Errors
    /// When the model came without a template, or the template refuses the conversation.
    pub fn chat(
        &self,
        messages: &[Message],
        reply: Reply,
    ) -> Result<String, OpenError> {
        let refused = |what| OpenError::Tokenizer { path: self.path.clone(), what };
        let Some(chat) = &self.chat else {
            let what =
                "it has no template for conversations: the model was not trained on \
                        them, or tokenizer_config.json is missing"
                    .to_owned();
            return Err(refused(what));
        };
        let told =
            |why: String| refused(format!("its template fails: {}", brief(&why)));
        chat.fill(messages, reply).map_err(told)
    }

    fn failed(&self, why: &tokenizers::Error) -> OpenError {
        let (path, what) = (self.path.clone(), brief(&why.to_string()));
        OpenError::Tokenizer { path, what }
    }
}

impl Model {
    /// The model's tokenizer: `tokenizer.json` of its folder, or the vocabulary of its
    /// GGUF.
    ///
    /// # Errors
    /// As for [`Tokenizer::open`], and when it belongs to another model.
    pub fn tokenizer(&self) -> Result<Tokenizer, OpenError> {
        let tokenizer = match self.weights().described() {
            Some(_) => Tokenizer::of(self.weights())?,
            None => Tokenizer::open(self.path())?,
        };
        let vocab = self.config().vocab();
        let path = || self.path().to_path_buf();
        let vocab = vocab.map_err(|why| OpenError::Config { path: path(), why })?;
        tokenizer.expect_vocab(vocab)?;
        Ok(tokenizer)
    }
}

type Step<'a> = dyn FnMut(u32) -> tokenizers::Result<Option<String>> + 'a;

/// The text of tokens that come one by one. A letter may take several tokens: it comes
/// with the last of them.
pub struct TokenStream<'a> {
    tokenizer: &'a Tokenizer,
    step: Box<Step<'a>>,
}

impl TokenStream<'_> {
    /// Takes the next token, and gives the text that is complete with it; often a word,
    /// sometimes nothing. Special tokens give nothing.
    ///
    /// # Errors
    /// As for [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String, OpenError> {
        let text = (self.step)(id).map_err(|why| self.tokenizer.failed(&why))?;
        Ok(text.unwrap_or_default())
    }
}

impl fmt::Debug for TokenStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenStream").finish_non_exhaustive()
    }
}

fn refused(path: &Path, why: &str) -> OpenError {
    let what = format!(
        "no tokenizer that is understood here ({}): download tokenizer.json again",
        brief(why)
    );
    OpenError::Tokenizer { path: path.to_path_buf(), what }
}

/// Why there is no tokenizer, where there should be one.
fn no_tokenizer(path: &Path, why: std::io::Error) -> OpenError {
    let has = |name: &str| path.with_file_name(name).is_file();
    let other = ["tokenizer.model", "vocab.txt", "vocab.json"]
        .into_iter()
        .find(|name| has(name));
    let Some(other) = other else {
        return OpenError::Unreadable { path: path.to_path_buf(), why };
    };
    let what = format!(
        "it is not there, and {other} beside it is not read here: load the tokenizer with \
         AutoTokenizer.from_pretrained and save it with save_pretrained"
    );
    OpenError::Tokenizer { path: path.to_path_buf(), what }
}

/// The template for conversations that lies in a folder: in a file of its own, or in
/// `tokenizer_config.json`.
fn chat_of(folder: &Path) -> Option<Chat> {
    let config = fs::read_to_string(folder.join("tokenizer_config.json")).ok();
    let config: Option<Json> = config.and_then(|text| serde_json::from_str(&text).ok());
    let config = config.unwrap_or(Json::Null);
    let alone = fs::read_to_string(folder.join("chat_template.jinja")).ok();
    let template = alone.or_else(|| template_of(&config["chat_template"]))?;
    let token = |name: &str| {
        let token = &config[name];
        token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
    };
    Some(Chat { template, bos: token("bos_token"), eos: token("eos_token") })
}

/// One template, or the one of several that is called `default`.
fn template_of(told: &Json) -> Option<String> {
    let by_name = |one: &&Json| one["name"] == "default";
    let one = match told {
        Json::Array(several) => &several.iter().find(by_name)?["template"],
        one => one,
    };
    one.as_str().map(str::to_owned)
}
