//! Texts become the tokens that Transformers gives, and come back.

use crate::written::reference;
use checkpoint::{Message, Model, Reply, Tokenizer};
use serde_json::Value;
use std::fs;
use std::sync::LazyLock;
use tempfile::TempDir;

/// What Transformers makes of hostile texts.
static EXPECTED: LazyLock<Value> = LazyLock::new(|| {
    let text = fs::read_to_string(reference("ids.json")).unwrap();
    serde_json::from_str(&text).unwrap()
});

/// The same vocabulary from a `tokenizer.json` and from a GGUF.
fn both() -> [Tokenizer; 2] {
    ["tiny", "tiny.gguf"].map(|name| Tokenizer::open(&reference(name)).unwrap())
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn hostile_texts_become_the_tokens_that_transformers_gives() {
    let texts = EXPECTED["texts"].as_array().unwrap();
    assert!(texts.len() > 15);
    for tokenizer in both() {
        for one in texts {
            let (name, text) = (&one["name"], one["text"].as_str().unwrap());
            let found = tokenizer.encode(text).unwrap();
            assert_eq!(found, ids(&one["ids"]), "{name}");
            assert_eq!(tokenizer.encode_bare(text).unwrap(), found, "{name}");
            assert_eq!(tokenizer.decode(&found).unwrap(), text, "{name}");
        }
    }
}

#[test]
fn a_million_letters_without_a_space_are_no_trouble() {
    let word = "animalIt's1234567o'clock,andwe'relate;they'llwait,won'tthey?";
    let text: String = word.chars().cycle().take(1_000_000).collect();
    let expected = &EXPECTED["million"];
    for tokenizer in both() {
        let found = tokenizer.encode(&text).unwrap();
        assert_eq!(found.len() as u64, expected["tokens"].as_u64().unwrap());
        let sum: u64 = found.iter().map(|id| u64::from(*id)).sum();
        assert_eq!(sum, expected["sum"].as_u64().unwrap());
        assert_eq!(found[found.len() - 3..], ids(&expected["last"]));
    }
}

#[test]
fn a_text_that_comes_token_by_token_comes_whole() {
    for tokenizer in both() {
        for one in EXPECTED["texts"].as_array().unwrap() {
            let text = one["text"].as_str().unwrap();
            if text.contains("<|") || text.len() > 2000 {
                continue;
            }
            let mut stream = tokenizer.stream();
            let pieces: Vec<String> = ids(&one["ids"])
                .into_iter()
                .map(|id| stream.push(id).unwrap())
                .collect();
            assert!(
                pieces
                    .iter()
                    .all(|piece| !piece.contains('\u{fffd}')
                        || text.contains('\u{fffd}'))
            );
            assert_eq!(pieces.concat(), text);
        }
    }
}

#[test]
fn special_tokens_are_kept_whole_and_left_out_when_asked() {
    for tokenizer in both() {
        let start = tokenizer.id("<|im_start|>").unwrap();
        let found = tokenizer.encode("<|im_start|>it").unwrap();
        assert_eq!(found[0], start);
        assert_eq!(tokenizer.decode(&found).unwrap(), "<|im_start|>it");
        assert_eq!(tokenizer.decode_plain(&found).unwrap(), "it");
        assert_eq!(tokenizer.piece(start), "<|im_start|>");
        assert_eq!(tokenizer.vocab(), 384);
    }
}

#[test]
fn a_conversation_becomes_the_text_that_transformers_gives() {
    let messages = [
        Message::user("Hi"),
        Message { role: "assistant".to_owned(), content: "Yes?".to_owned() },
    ];
    for tokenizer in both() {
        assert!(tokenizer.has_chat());
        let begun = tokenizer.chat(&messages[..1], Reply::Begins).unwrap();
        assert_eq!(begun, EXPECTED["chats"]["True"].as_str().unwrap());
        let ended = tokenizer.chat(&messages, Reply::Absent).unwrap();
        assert_eq!(ended, EXPECTED["chats"]["False"].as_str().unwrap());
    }
}

/// A folder with this vocabulary and this configuration of it.
fn folder(config: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::copy(reference("tiny/tokenizer.json"), path("tokenizer.json")).unwrap();
    fs::write(path("tokenizer_config.json"), config).unwrap();
    folder
}

#[test]
fn a_template_that_does_not_end_is_stopped() {
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}";
    for (template, said) in [
        (endless, "its template fails: "),
        ("{{ raise_exception('roles have to alternate') }}", "roles have to alternate"),
        ("{% if %}", "its template fails: "),
    ] {
        let config = serde_json::json!({"chat_template": template}).to_string();
        let folder = folder(&config);
        let tokenizer = Tokenizer::open(folder.path()).unwrap();
        let told = tokenizer.chat(&[], Reply::Begins).unwrap_err().to_string();
        assert!(told.contains(said) && told.lines().count() == 1, "{told}");
    }
    let without = folder("{}");
    let tokenizer = Tokenizer::open(without.path()).unwrap();
    assert!(!tokenizer.has_chat());
    let told = tokenizer.chat(&[], Reply::Begins).unwrap_err().to_string();
    assert!(told.contains("no template for conversations"), "{told}");
}

#[test]
fn a_template_may_use_what_python_has() {
    let template = "{% for m in messages %}{% if m['content'].strip().startswith('H') %}\
                    {{ bos_token + m.content | trim }}{% break %}{% endif %}{% endfor %}";
    let several = serde_json::json!([
        {"name": "tool_use", "template": "no"},
        {"name": "default", "template": template},
    ]);
    let config =
        serde_json::json!({"bos_token": {"content": "<s>"}, "chat_template": several});
    let folder = folder(&config.to_string());
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let text =
        tokenizer.chat(&[Message::user(" Hi "), Message::user("H")], Reply::Absent);
    assert_eq!(text.unwrap(), "<s>Hi");
}

#[test]
fn a_vocabulary_of_another_model_is_refused() {
    let tokenizer = &both()[0];
    assert!(tokenizer.expect_vocab(384).is_ok());
    assert!(tokenizer.expect_vocab(400).is_ok());
    for vocab in [0, 383, 1000, 49_152] {
        let told = tokenizer.expect_vocab(vocab).unwrap_err().to_string();
        let says =
            format!("it has 384 tokens, and the model has {vocab}: it belongs to");
        assert!(told.contains(&says) && told.lines().count() == 1, "{told}");
    }
    assert!(Model::open(&reference("tiny")).unwrap().tokenizer().is_ok());
}

#[test]
fn what_is_no_tokenizer_is_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tokenizer.json");
    let error = || Tokenizer::open(folder.path()).unwrap_err().to_string();
    assert!(error().contains("No such file"), "{}", error());
    fs::write(folder.path().join("tokenizer.model"), b"").unwrap();
    assert!(
        error().contains("tokenizer.model beside it is not read here"),
        "{}",
        error()
    );
    for text in ["", "{}", "[1]", r#"{"model": {"type": "BPE"}}"#, "<html>"] {
        fs::write(&path, text).unwrap();
        let told = error();
        assert!(told.contains("no tokenizer that is understood"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}
