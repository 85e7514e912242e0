//! The book while it is being written: on this machine alone, and always the last good one.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

const PAGE: &str = "book/src/softmax.md";
/// Longer than any machine should need; nothing waits that long unless it fails.
const DEADLINE: Duration = Duration::from_mins(1);

#[test]
fn pages_are_served_and_others_are_not_found() {
    let server = Server::start(Book::new());
    let index = server.get("/");
    assert!(index.starts_with("HTTP/1.1 200"));
    assert!(index.contains("A small book"));
    assert!(index.to_lowercase().contains("cache-control: no-store"));
    let missing = server.get("/nothing.html");
    assert!(missing.starts_with("HTTP/1.1 404"));
    assert!(missing.contains("Document not found"));
}

#[test]
fn nothing_outside_the_book_is_served() {
    let server = Server::start(Book::new());
    for path in [
        "/../book.toml",
        "/../../book.toml",
        "/%2e%2e/%2e%2e/book.toml",
        "/..%2f..%2fbook.toml",
        "/..%5c..%5cbook.toml",
        "//etc/passwd",
        "/css/../../../book.toml",
    ] {
        let response = server.get(path);
        assert!(!response.starts_with("HTTP/1.1 200"), "{path}: {response}");
        assert!(!response.contains("build-dir"), "{path}: {response}");
    }
}

#[test]
fn a_name_that_somebody_else_gave_this_machine_is_refused() {
    let server = Server::start(Book::new());
    let port = server.port;
    for host in
        ["localhost".to_owned(), format!("127.0.0.1:{port}"), "[::1]".to_owned()]
    {
        assert!(server.get_as(&host, "/").starts_with("HTTP/1.1 200"), "{host}");
    }
    for host in ["evil.example", "evil.example:3000", "127.0.0.1.evil.example", ""] {
        assert!(server.get_as(host, "/").starts_with("HTTP/1.1 403"), "{host}");
    }
}

#[test]
#[cfg(target_os = "linux")] // elsewhere 127.0.0.2 is not this machine
fn only_one_address_is_listened_on() {
    let server = Server::start(Book::new());
    assert!(TcpStream::connect(("127.0.0.2", server.port)).is_err());
}

#[test]
fn a_change_is_woven_and_the_page_is_told() {
    let server = Server::start(Book::new());
    let mut news = server.listen();
    server.book.replace(PAGE, "A function:", "A function, changed:");
    let mut frame = [0; 8];
    news.read_exact(&mut frame).unwrap();
    assert_eq!(&frame, b"\x81\x06reload");
    assert!(server.get("/softmax.html").contains("A function, changed:"));
}

#[test]
fn source_snapshots_and_drawings_are_watched_too() {
    let server = Server::start(Book::new());
    let chapter = "chapters/01-softmax";
    let edits = [
        (format!("{chapter}/src/lib.rs"), "Never.", "Never, ever."),
        (
            format!("{chapter}/tests/it/snapshots/it__outputs__facts.snap"),
            "12,345",
            "54,321",
        ),
        ("images/01-softmax/sharpness.svg".to_owned(), ">A line<", ">A straight line<"),
    ];
    for (file, old, new) in edits {
        server.book.replace(&file, old, new);
        server.wait_for("/softmax.html", new);
    }
}

#[test]
fn a_book_that_is_wrong_leaves_the_last_good_one() {
    let server = Server::start(Book::new());
    server.book.replace(PAGE, "A function:", "{{#code softmax::nothing}}");
    server.wait_for_line("no item `nothing` in crate `softmax`");
    assert!(server.get("/softmax.html").contains("A function:"));
    server.book.replace(PAGE, "{{#code softmax::nothing}}", "A function, again:");
    server.wait_for("/softmax.html", "A function, again:");
}

#[test]
fn a_port_that_is_taken_is_said_so_in_one_line() {
    let server = Server::start(Book::new());
    let port = server.port.to_string();
    let output = server.book.serve(&port).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with(&format!("port {port} is taken")), "{told}");
    assert_eq!(told.lines().count(), 1);
}

#[test]
fn a_command_that_is_not_there_is_said_and_nothing_stops() {
    let book = Book::new();
    let mut serve = Command::new(env!("CARGO_BIN_EXE_serve"));
    serve.arg("--root").arg(book.folder.path());
    serve.args([
        "--pages",
        "pages",
        "--news",
        "news",
        "--port",
        "0",
        "--",
        "no such program",
    ]);
    let server = Server::run(book, &mut serve);
    server.book.replace(PAGE, "A function:", "A function, changed:");
    server.wait_for_line("cannot run no such program");
    assert!(server.get("/").starts_with("HTTP/1.1 404"));
}

/// The weaver, which builds the books of these tests.
static WEAVE: LazyLock<PathBuf> = LazyLock::new(|| {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "weave"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(built.success());
    Path::new(env!("CARGO_BIN_EXE_serve"))
        .with_file_name("weave")
        .with_extension(std::env::consts::EXE_EXTENSION)
});

/// The small book of the weaver's own tests, in a folder of its own.
struct Book {
    folder: tempfile::TempDir,
}

impl Book {
    fn new() -> Book {
        let folder = tempfile::tempdir().unwrap();
        let original =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../weave/tests/fixtures/book");
        copy(&original, folder.path());
        Book { folder }
    }

    /// Replaces the one place in a file that reads `old`.
    #[track_caller]
    fn replace(&self, path: &str, old: &str, new: &str) {
        let file = self.folder.path().join(path);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.matches(old).count(), 1, "{path} should have {old:?} once");
        fs::write(file, text.replace(old, new)).unwrap();
    }

    /// The command line that `weave serve` runs.
    fn serve(&self, port: &str) -> Command {
        let root = self.folder.path();
        let mut serve = Command::new(env!("CARGO_BIN_EXE_serve"));
        serve.arg("--root").arg(root).args(["--pages", "target/book.served"]);
        serve.args(["--news", "__livereload", "--port", port, "--"]);
        serve.arg(&*WEAVE).arg("--root").arg(root).args(["build", "--author"]);
        serve
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// A book that is served until the test is over.
struct Server {
    book: Book,
    process: Child,
    port: u16,
    lines: Receiver<String>,
}

impl Server {
    fn start(book: Book) -> Server {
        let mut serve = book.serve("0");
        Server::run(book, &mut serve)
    }

    fn run(book: Book, serve: &mut Command) -> Server {
        let mut process =
            serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(process.stdout.take().unwrap()),
            Box::new(process.stderr.take().unwrap()),
        ];
        for output in outputs {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        let mut server = Server { book, process, port: 0, lines };
        let address = server.wait_for_line("http://127.0.0.1:");
        let port = address.trim_end_matches('/').rsplit_once(':').unwrap().1;
        server.port = port.parse().unwrap();
        server
    }

    fn wait_for_line(&self, part: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line =
                self.lines.recv_timeout(left).expect("the server says it in time");
            if line.contains(part) {
                return line;
            }
        }
    }

    fn wait_for(&self, path: &str, part: &str) {
        let end = Instant::now() + DEADLINE;
        while !self.get(path).contains(part) {
            assert!(Instant::now() < end, "{path} never came to hold {part:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn get(&self, path: &str) -> String {
        self.get_as("localhost", path)
    }

    fn get_as(&self, host: &str, path: &str) -> String {
        let mut stream = self.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ));
        let mut response = Vec::new();
        stream.read_to_end(&mut response).unwrap();
        String::from_utf8_lossy(&response).into_owned()
    }

    /// The connection over which a page hears that it has changed.
    fn listen(&self) -> TcpStream {
        let mut stream = self.send(
            "GET /__livereload HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"));
        stream
    }

    fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
