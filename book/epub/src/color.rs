//! The colors of drawings without what reading devices do not know: variables become the
//! colors of a light page, and mixtures are mixed.

/// `var(--fig-ink, #1a1a1a)` or `color-mix(in oklab, A 25%, B)` as `#rrggbb`; anything else
/// stays.
pub(crate) fn plain(color: &str) -> String {
    mixed(color).or_else(|| named(color)).unwrap_or_else(|| color.to_owned())
}

fn named(color: &str) -> Option<String> {
    let inside = color.strip_prefix("var(")?.strip_suffix(')')?;
    Some(inside.split_once(',')?.1.trim().to_owned())
}

fn mixed(color: &str) -> Option<String> {
    let inside = color.strip_prefix("color-mix(in oklab, ")?.strip_suffix(')')?;
    let (first, second) = inside.split_once("%, ")?;
    let (first, percent) = first.rsplit_once(' ')?;
    let share = percent.parse::<f64>().ok()? / 100.0;
    let [a, b] = [first, second].map(|color| oklab(&plain(color)));
    let (a, b) = (a?, b?);
    Some(hex(std::array::from_fn(|i| a[i] * share + b[i] * (1.0 - share))))
}

// Björn Ottosson's Oklab, with the matrices of CSS Color 4.

fn oklab(hex: &str) -> Option<[f64; 3]> {
    let digits = hex.strip_prefix('#').filter(|digits| digits.len() == 6)?;
    let byte = |i: usize| u8::from_str_radix(digits.get(2 * i..2 * i + 2)?, 16).ok();
    let rgb = [byte(0)?, byte(1)?, byte(2)?].map(|byte| {
        let s = f64::from(byte) / 255.0;
        if s <= 0.040_45 { s / 12.92 } else { ((s + 0.055) / 1.055).powf(2.4) }
    });
    let lms = times(
        [
            [0.412_221_469_470_763, 0.536_332_537_261_734_8, 0.051_445_993_267_502_2],
            [0.211_903_495_823_136_8, 0.680_699_545_064_234_2, 0.107_396_959_112_628_8],
            [0.088_302_461_900_564, 0.281_718_838_752_624_6, 0.629_978_699_346_811_4],
        ],
        rgb,
    );
    Some(times(
        [
            [0.210_454_268_309_314, 0.793_617_774_701_889, -0.004_072_043_011_619],
            [1.977_998_532_431_168, -2.428_592_242_048_58, 0.450_593_709_617_411],
            [0.025_904_042_465_547, 0.782_771_712_457_529, -0.808_675_754_923_077],
        ],
        lms.map(f64::cbrt),
    ))
}

fn hex(oklab: [f64; 3]) -> String {
    let lms = times(
        [
            [1.0, 0.396_337_777_376_174_9, 0.215_803_757_309_913_6],
            [1.0, -0.105_561_345_815_658_6, -0.063_854_172_825_813_3],
            [1.0, -0.089_484_177_529_811_9, -1.291_485_548_019_409_2],
        ],
        oklab,
    );
    let rgb = times(
        [
            [4.076_741_636_075_958, -3.307_711_539_258_062, 0.230_969_903_182_103_4],
            [
                -1.268_437_973_285_031_5,
                2.609_757_349_287_688_5,
                -0.341_319_376_002_657_3,
            ],
            [
                -0.004_196_076_138_675_6,
                -0.703_418_617_935_936_6,
                1.707_614_694_074_612_4,
            ],
        ],
        lms.map(|x| x.powi(3)),
    );
    let [r, g, b] = rgb.map(|s| {
        let s = if s <= 0.003_130_8 {
            s * 12.92
        } else {
            1.055 * s.powf(1.0 / 2.4) - 0.055
        };
        (s.clamp(0.0, 1.0) * 255.0).round() as u8
    });
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn times(matrix: [[f64; 3]; 3], vector: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_the_colors_of_a_light_page() {
        assert_eq!(plain("var(--fig-ink, #1a1a1a)"), "#1a1a1a");
        assert_eq!(plain("none"), "none");
    }

    #[test]
    fn mixtures_are_those_of_a_browser() {
        // What Chromium paints for the same words.
        for (share, color) in MIXED {
            let words = format!(
                "color-mix(in oklab, var(--a, #2b7bba) {share}%, var(--b, #f3f6fa))"
            );
            assert_eq!(plain(&words), color);
        }
    }

    const MIXED: [(&str, &str); 4] =
        [("0", "#f3f6fa"), ("6.25", "#e7eef6"), ("50", "#93b8dc"), ("100", "#2b7bba")];
}
