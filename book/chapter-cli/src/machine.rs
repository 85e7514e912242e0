//! Where and with what a benchmark runs: what it writes above its numbers.

use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::SystemTime;

/// The crates that compute, and so decide how long it takes.
const CRATES: [&str; 3] = ["matrixmultiply", "nalgebra", "pulp"];

/// A line `# key: what it says` for each of the conditions of a recording, whose numbers
/// have this unit. `folder` is one of the book.
pub(crate) fn conditions(folder: &Path, unit: &str) -> String {
    let crates: Vec<String> = CRATES.map(|name| version_of(folder, name)).into();
    let said = [
        ("recorded", today()),
        ("unit", unit.to_owned()),
        ("processor", processor()),
        ("cores", available_parallelism().map_or(1, usize::from).to_string()),
        ("instructions", instructions().to_owned()),
        ("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        ("rustc", rustc(folder)),
        ("crates", crates.join(", ")),
        ("book", book(folder)),
    ];
    said.map(|(key, said)| format!("# {key}: {said}\n")).concat()
}

/// Nobody can say what a processor is called that does not say it.
const UNKNOWN: &str = "unknown";

fn today() -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    now.chars().take("2026-11-27".len()).collect()
}

/// What the processor calls itself.
#[cfg(target_arch = "x86_64")]
fn processor() -> String {
    let cpuid = raw_cpuid::CpuId::new();
    let brand = cpuid.get_processor_brand_string();
    let name = brand.map(|brand| words(brand.as_str()));
    let name = name.filter(|name| !name.is_empty()).unwrap_or(UNKNOWN.to_owned());
    match cpuid.get_feature_info() {
        Some(info) => {
            format!("{name} (family {}, model {})", info.family_id(), info.model_id())
        }
        None => name,
    }
}

/// What the system calls the processor: macOS by `sysctl`, others by `lscpu`.
#[cfg(not(target_arch = "x86_64"))]
fn processor() -> String {
    let apple = said(Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]));
    let listed = || {
        let all = said(Command::new("lscpu").env("LC_ALL", "C"))?;
        let name = all.lines().find_map(|line| line.strip_prefix("Model name:"));
        name.map(words)
    };
    apple.or_else(listed).filter(|name| !name.is_empty()).unwrap_or(UNKNOWN.to_owned())
}

/// The widest vectors of the processor that the crates in use know.
fn instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let wide =
            has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        match () {
            () if wide => "AVX-512",
            () if has!("avx2") && has!("fma") => "AVX2",
            () if has!("avx") => "AVX",
            () => "SSE2",
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        "NEON"
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        "no vectors"
    }
}

/// `nalgebra 0.35.0`, as the workspace has locked it.
fn version_of(folder: &Path, name: &str) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let id = said(
        Command::new(cargo).args(["pkgid", "--offline", name]).current_dir(folder),
    );
    let version = id.as_deref().and_then(|id| id.rsplit(['@', '#']).next());
    format!("{name} {}", version.unwrap_or(UNKNOWN))
}

/// `1.95.0`, of the compiler that Cargo takes in this folder.
fn rustc(folder: &Path) -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let all = said(Command::new(rustc).arg("--version").current_dir(folder));
    let version = all.as_deref().and_then(|all| all.split_whitespace().nth(1));
    version.unwrap_or(UNKNOWN).to_owned()
}

/// The book's version, and the commit if there is one; `changed` if there is more to the
/// code than that commit.
fn book(folder: &Path) -> String {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(arguments).current_dir(folder);
        git
    };
    let version = env!("CARGO_PKG_VERSION");
    let Some(commit) = said(&mut git(&["rev-parse", "--short=7", "HEAD"])) else {
        return version.to_owned();
    };
    // Other recordings of the same day may have changed; they compute nothing.
    let code = ["diff", "--quiet", "HEAD", "--", ":/*.rs", ":/*.toml", ":/Cargo.lock"];
    let same = git(&code).status().is_ok_and(|status| status.success());
    format!("{version}, {commit}{}", if same { "" } else { " changed" })
}

/// What a program prints, without the white space around it, if there is such a program
/// and it prints something.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// With one space between words.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::conditions;
    use crate::recording::{COLUMNS, Recorded};
    use std::path::Path;

    #[test]
    fn a_recording_is_read_that_begins_with_the_conditions() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = conditions(folder, "ms") + COLUMNS + "\n";
        let recorded = Recorded::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert!(
            recorded.condition("crates").starts_with("matrixmultiply 0."),
            "{text}"
        );
        assert!(recorded.condition("rustc").starts_with("1."), "{text}");
        assert_eq!(recorded.condition("recorded").len(), 10, "{text}");
    }
}
