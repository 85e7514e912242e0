//! A name in place of a path is fetched once, goes on where it was cut off, and is told
//! in one line where it cannot be had. The hub is a server on this machine.

use crate::written::reference;
use checkpoint::Model;
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use tempfile::TempDir;

const NAME: &str = "somebody/tiny";

/// A hub with the files of one model.
struct Hub {
    address: String,
    /// How many bytes of each file were sent.
    sent: Arc<Mutex<HashMap<String, usize>>>,
    requests: Arc<AtomicUsize>,
    /// Whether weights are cut off in their middle, once.
    cuts: Arc<AtomicBool>,
}

impl Hub {
    fn start() -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hub = Hub {
            address: format!("http://{}", listener.local_addr().unwrap()),
            sent: Arc::default(),
            requests: Arc::default(),
            cuts: Arc::default(),
        };
        let (sent, requests) = (Arc::clone(&hub.sent), Arc::clone(&hub.requests));
        let cuts = Arc::clone(&hub.cuts);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                requests.fetch_add(1, Ordering::SeqCst);
                let (sent, cuts) = (Arc::clone(&sent), Arc::clone(&cuts));
                thread::spawn(move || answer(stream, &sent, &cuts));
            }
        });
        hub
    }

    /// Opens a model by its name, in a process of its own with this hub and this cache.
    fn find(&self, name: &str, cache: &Path) -> Output {
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "hub::a_process_that_opens_a_model",
                "--ignored",
                "--nocapture",
            ])
            .env("MODEL", name)
            .env("HF_ENDPOINT", &self.address)
            .env("HF_HOME", cache)
            .env_remove("HF_TOKEN")
            .env_remove("HF_HUB_OFFLINE")
            .output()
            .unwrap()
    }

    fn sent(&self, file: &str) -> usize {
        self.sent.lock().unwrap().get(file).copied().unwrap_or(0)
    }
}

/// Answers one request for a file, or a part of it.
fn answer(
    mut stream: TcpStream,
    sent: &Mutex<HashMap<String, usize>>,
    cuts: &AtomicBool,
) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let request = lines.next()?.ok()?;
    let headers: Vec<String> =
        lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let address = request.split(' ').nth(1)?;
    let file = address.strip_prefix(&format!("/{NAME}/resolve/main/"));
    let bytes = file.and_then(|file| fs::read(reference("tiny").join(file)).ok());
    let (Some(file), Some(bytes)) = (file, bytes) else {
        let refused =
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(refused.as_bytes()).ok();
    };
    let range = headers.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("range")
            .then(|| value.trim().trim_start_matches("bytes="))
    });
    let (begin, end) =
        range.and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
    let begin: usize = begin.parse().ok()?;
    let end = end.parse().map_or(bytes.len(), |end: usize| (end + 1).min(bytes.len()));
    let part = bytes.get(begin..end)?;
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {begin}-{}/{}\r\n\
         ETag: \"{file}-1\"\r\nX-Repo-Commit: 0123456789abcdef\r\nAccept-Ranges: bytes\r\n\
         Connection: close\r\n\r\n",
        part.len(),
        end - 1,
        bytes.len()
    );
    let is_whole = part.len() > bytes.len() / 2 && file == "model.safetensors";
    let cut = is_whole && cuts.swap(false, Ordering::SeqCst);
    let part = if cut { &part[..part.len() / 2] } else { part };
    *sent.lock().ok()?.entry(file.to_owned()).or_default() += part.len();
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(part).ok()
}

/// Not a test of its own: what [`Hub::find`] runs.
#[test]
#[ignore = "it is run by the other tests, which set the hub that it asks"]
fn a_process_that_opens_a_model() {
    let name = std::env::var("MODEL").unwrap();
    match Model::find(&name) {
        Ok(model) => {
            let tensors = model.weights().names().count();
            println!("found {tensors} tensors in {}", model.path().display());
        }
        Err(error) => println!("refused: {error}"),
    }
}

/// The line that the process wrote.
fn line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().filter_map(|line| {
        let at = line.find("found ").or_else(|| line.find("refused: "))?;
        Some(line[at..].to_owned())
    });
    let line = lines.next();
    line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_name_is_fetched_once() {
    let (hub, cache) = (Hub::start(), TempDir::new().unwrap());
    let told = line(&hub.find(NAME, cache.path()));
    assert!(told.starts_with("found 15 tensors in "), "{told}");
    assert!(told.contains("models--somebody--tiny"), "{told}");
    let before = hub.requests.load(Ordering::SeqCst);
    assert!(line(&hub.find(NAME, cache.path())).starts_with("found 15 tensors in "));
    assert_eq!(hub.requests.load(Ordering::SeqCst), before, "it asked again");
}

#[test]
fn what_was_cut_off_goes_on_where_it_ended() {
    let (hub, cache) = (Hub::start(), TempDir::new().unwrap());
    let length =
        fs::metadata(reference("tiny/model.safetensors")).unwrap().len() as usize;
    hub.cuts.store(true, Ordering::SeqCst);
    let mut told = line(&hub.find(NAME, cache.path()));
    if told.starts_with("refused") {
        told = line(&hub.find(NAME, cache.path()));
    }
    assert!(told.starts_with("found 15 tensors in "), "{told}");
    // What asks for its length takes a byte.
    let sent = hub.sent("model.safetensors");
    assert!((length..length + 8).contains(&sent), "{sent} bytes of {length}");
}

#[test]
fn what_the_hub_does_not_have_is_told_in_one_line() {
    let (hub, cache) = (Hub::start(), TempDir::new().unwrap());
    let told = line(&hub.find("somebody/else", cache.path()));
    assert!(
        told.contains("`somebody/else` is no path here, and the hub has no such"),
        "{told}"
    );
    assert!(told.ends_with("or a .gguf file"), "{told}");
    let before = hub.requests.load(Ordering::SeqCst);
    for no_name in ["model.gguf", "../x/y", "a/b/c", "a b/c"] {
        let told = line(&hub.find(no_name, cache.path()));
        assert!(told.contains("no name of a model on the hub"), "{told}");
    }
    assert_eq!(hub.requests.load(Ordering::SeqCst), before);
}

#[test]
fn a_hub_that_does_not_answer_is_told_in_one_line() {
    let cache = TempDir::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let hub = Hub { address, ..Hub::start() };
    let told = line(&hub.find(NAME, cache.path()));
    assert!(told.contains("the hub does not answer"), "{told}");
    assert!(told.ends_with("or a .gguf file"), "{told}");
}
