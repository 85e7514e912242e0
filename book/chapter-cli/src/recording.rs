//! What a benchmark wrote down: medians with their spread, and where they were measured.
//!
//! ```text
//! # recorded: 2026-11-27
//! # processor: Intel(R) Xeon(R) Processor
//! # cores: 2
//! # …                      all of `CONDITIONS`
//! case,n,median,low,high,calls,faults
//! attend,64,0.0237,0.0231,0.0244,200,0
//! ```

use figures::Spread;
use std::fmt::Write;
use std::str::FromStr;

/// What every recording says of where its numbers come from, in this order.
pub(crate) const CONDITIONS: [&str; 9] = [
    "recorded",
    "unit",
    "processor",
    "cores",
    "instructions",
    "system",
    "rustc",
    "crates",
    "book",
];

/// MiB that are summed to see how fast memory is read: more than caches hold.
pub const READ_MIB: usize = 512;

/// Rows and columns of the product that shows how fast the processor computes.
pub const PRODUCT: usize = 2048;

/// The heads of its columns.
pub(crate) const COLUMNS: &str = "case,n,median,low,high,calls,faults";

/// A recording of a chapter's benchmark, or of its comparison with another library.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Keys with what they say: [`CONDITIONS`], and more behind them.
    conditions: Vec<(String, String)>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    case: String,
    n: usize,
    spread: Spread,
    faults: Option<f64>,
}

/// What is wrong with a recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// It does not say where it was measured.
    #[error(
        "a recording without the line `# {0}: …`: record the benchmark anew with \
         `cargo bench -p CHAPTER -- --record`"
    )]
    Unsaid(&'static str),
    /// A line is not what it should be.
    #[error("line {line} of a recording: expected {expected}, found `{found}`")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A case was not recorded.
    #[error("a recording without `{case}` at {n}: record the benchmark anew")]
    Missing {
        /// Its name.
        case: String,
        /// Its size.
        n: usize,
    },
    /// The numbers are of something else.
    #[error("a recording in {found}, where {expected} are read")]
    Unit {
        /// What is asked for.
        expected: &'static str,
        /// What it holds.
        found: String,
    },
}

/// What a machine can do at best, with all cores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roof {
    /// Read from memory.
    pub bytes_per_second: f64,
    /// In a large square product.
    pub multiply_adds_per_second: f64,
}

impl Recorded {
    /// Reads a recording.
    ///
    /// # Errors
    /// When it does not say where it was measured, or a line is not as it should be.
    pub fn parse(recording: &str) -> Result<Recorded, RecordingError> {
        let lines = || recording.lines().enumerate();
        let conditions: Vec<_> = lines()
            .filter_map(|(_, line)| line.strip_prefix('#')?.split_once(':'))
            .map(|(key, said)| (key.trim().to_owned(), said.trim().to_owned()))
            .collect();
        let is_said = |key: &&&str| {
            conditions.iter().any(|(found, said)| found == **key && !said.is_empty())
        };
        if let Some(unsaid) = CONDITIONS.iter().find(|key| !is_said(key)) {
            return Err(RecordingError::Unsaid(unsaid));
        }
        let mut table = lines().filter(|(_, line)| !line.starts_with('#'));
        match table.next() {
            Some((_, COLUMNS)) => {}
            other => {
                let (line, found) = other.unwrap_or_default();
                return Err(wrong(line, COLUMNS, found));
            }
        }
        let rows = table
            .map(|(at, line)| Row::parse(line).ok_or_else(|| wrong(at, COLUMNS, line)));
        Ok(Recorded { rows: rows.collect::<Result<_, _>>()?, conditions })
    }

    /// The median time of a case at a size, in milliseconds.
    ///
    /// # Errors
    /// When it was not recorded.
    pub fn milliseconds(&self, case: &str, n: usize) -> Result<f64, RecordingError> {
        self.expect_unit("ms")?;
        Ok(self.spread(case, n)?.median)
    }

    /// The median memory of a case at a size, in MiB.
    ///
    /// # Errors
    /// When it was not recorded.
    pub fn mebibytes(&self, case: &str, n: usize) -> Result<f64, RecordingError> {
        self.expect_unit("MiB")?;
        Ok(self.spread(case, n)?.median)
    }

    /// What the machine did at best, in turns with the cases of the recording.
    ///
    /// # Errors
    /// When it was not recorded.
    pub fn roofs(&self) -> Result<Roof, RecordingError> {
        let seconds = |case, n| Ok(self.milliseconds(case, n)? / 1e3);
        Ok(Roof {
            bytes_per_second: (READ_MIB << 20) as f64 / seconds("read", READ_MIB)?,
            multiply_adds_per_second: (PRODUCT as f64).powi(3)
                / seconds("product", PRODUCT)?,
        })
    }

    /// Median and spread of a case at a size.
    ///
    /// # Errors
    /// When it was not recorded.
    pub fn spread(&self, case: &str, n: usize) -> Result<Spread, RecordingError> {
        Ok(self.row(case, n)?.spread)
    }

    /// All sizes of a case with their medians.
    pub fn points(&self, case: &str) -> impl Iterator<Item = (usize, f64)> {
        self.spreads(case).map(|(n, spread)| (n, spread.median))
    }

    /// All sizes of a case with median and spread.
    pub fn spreads(&self, case: &str) -> impl Iterator<Item = (usize, Spread)> {
        let of_case = self.rows.iter().filter(move |row| row.case == case);
        of_case.map(|row| (row.n, row.spread))
    }

    /// All sizes of a case as a chart draws them.
    pub fn line(&self, case: &str) -> impl Iterator<Item = (f64, Spread)> {
        self.spreads(case).map(|(n, spread)| (n as f64, spread))
    }

    /// Pages that the system gave the program anew in each call of a case, where the
    /// system counts them.
    ///
    /// # Errors
    /// When the case was not recorded.
    pub fn faults(&self, case: &str, n: usize) -> Result<Option<f64>, RecordingError> {
        Ok(self.row(case, n)?.faults)
    }

    /// What the recording says of itself under a key, or nothing.
    #[must_use]
    pub fn condition(&self, key: &str) -> &str {
        let found = self.conditions.iter().find(|(known, _)| known == key);
        found.map_or("", |(_, said)| said)
    }

    /// In one line, what a figure says of where its numbers were measured.
    #[must_use]
    pub fn measured(&self) -> String {
        let of = |key| self.condition(key);
        let cores = match of("cores") {
            "1" => "1 core".to_owned(),
            cores => format!("{cores} cores"),
        };
        let mut line = format!(
            "Medians; bars span the middle half. {}, {cores}, {}; {}; rustc {}; {}",
            of("processor"),
            of("instructions"),
            of("system"),
            of("rustc"),
            of("crates"),
        );
        for (key, said) in &self.conditions {
            if !CONDITIONS.contains(&key.as_str()) {
                let _ = write!(line, "; {key} {said}");
            }
        }
        let _ = write!(line, "; {}.", of("recorded"));
        line
    }

    fn row(&self, case: &str, n: usize) -> Result<&Row, RecordingError> {
        let found = self.rows.iter().find(|row| row.case == case && row.n == n);
        found.ok_or_else(|| RecordingError::Missing { case: case.to_owned(), n })
    }

    fn expect_unit(&self, expected: &'static str) -> Result<(), RecordingError> {
        match self.condition("unit") {
            found if found == expected => Ok(()),
            found => Err(RecordingError::Unit { expected, found: found.to_owned() }),
        }
    }
}

impl Row {
    fn parse(line: &str) -> Option<Row> {
        let mut cells = line.split(',');
        let row = Row {
            case: cells.next()?.to_owned(),
            n: number(cells.next())?,
            spread: Spread {
                median: number(cells.next())?,
                low: number(cells.next())?,
                high: number(cells.next())?,
            },
            faults: {
                let _calls: u64 = number(cells.next())?;
                match cells.next()? {
                    "" => None,
                    counted => Some(number(Some(counted))?),
                }
            },
        };
        let in_order =
            row.spread.low <= row.spread.median && row.spread.median <= row.spread.high;
        (in_order && cells.next().is_none()).then_some(row)
    }
}

fn number<T: FromStr>(cell: Option<&str>) -> Option<T> {
    cell?.parse().ok()
}

fn wrong(at: usize, expected: &'static str, found: &str) -> RecordingError {
    RecordingError::Line { line: at + 1, expected, found: found.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
# recorded: 2026-11-27
# unit: ms
# processor: Some Processor
# cores: 2
# instructions: AVX-512
# system: Linux x86_64
# rustc: 1.95.0
# crates: matrixmultiply 0.3.10, nalgebra 0.35.0
# book: 0.1.0, d5a4c10
# PyTorch: 2.15.0
case,n,median,low,high,calls,faults
attend,64,2.5,2.25,3,21,0
attend,128,10,9,11,21,
";

    #[test]
    fn medians_and_spreads_are_found_by_case_and_size() {
        let recorded = Recorded::parse(SAID).unwrap();
        assert_eq!(recorded.milliseconds("attend", 64), Ok(2.5));
        let spread = Spread { low: 9.0, median: 10.0, high: 11.0 };
        assert_eq!(recorded.spread("attend", 128), Ok(spread));
        assert_eq!(
            recorded.points("attend").collect::<Vec<_>>(),
            [(64, 2.5), (128, 10.0)]
        );
        assert_eq!(recorded.faults("attend", 64), Ok(Some(0.0)));
        assert_eq!(recorded.faults("attend", 128), Ok(None));
        let missing = recorded.milliseconds("attend", 65).unwrap_err();
        assert!(missing.to_string().contains("`attend` at 65"), "{missing}");
        let unit = recorded.mebibytes("attend", 64).unwrap_err();
        assert_eq!(unit.to_string(), "a recording in ms, where MiB are read");
    }

    #[test]
    fn it_says_where_it_was_measured() {
        let line = Recorded::parse(SAID).unwrap().measured();
        for part in [
            "Some Processor, 2 cores, AVX-512",
            "rustc 1.95.0",
            "PyTorch 2.15.0",
            "2026-11-27",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn a_recording_that_does_not_say_where_is_refused() {
        for key in CONDITIONS {
            let line = format!("# {key}: ");
            let without = SAID.replace(&line, "# else: ");
            assert_eq!(Recorded::parse(&without), Err(RecordingError::Unsaid(key)));
        }
    }

    #[test]
    fn a_line_that_is_not_a_row_is_refused_with_its_number() {
        for bad in [
            "attend,64,2.5",
            "attend,64,2.5,2.6,3,21,0",
            "attend,x,1,1,1,1,0",
            "attend,1,1,1,1,1,0,0",
        ] {
            let error = Recorded::parse(&format!("{SAID}{bad}\n")).unwrap_err();
            assert!(error.to_string().starts_with("line 14"), "{error}");
        }
        let old = SAID.replace(COLUMNS, "case,n,min_ms");
        assert!(Recorded::parse(&old).is_err());
    }
}
