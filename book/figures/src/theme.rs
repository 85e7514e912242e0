//! The colors of the book. A drawing names a color by its role; the page, or the
//! file itself when it stands alone, decides what the role looks like.

use plotters::style::RGBColor;
use std::fmt::Write;

/// One CSS custom property of a drawing, with its value on light and on dark paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// The name with its dashes: `--fig-ink`.
    pub name: &'static str,
    /// `#rrggbb` on light paper. Also the fallback where nothing sets the property.
    pub light: &'static str,
    /// `#rrggbb` on dark paper.
    pub dark: &'static str,
}

/// Every property that a drawing may use.
pub const THEME: [Property; 20] = [
    INK,
    MUTED_INK,
    GRID,
    PAPER,
    ATTENTION,
    MULTI_HEAD,
    DECODING,
    MULTI_QUERY,
    GROUPED_QUERY,
    ROTARY,
    LATENT,
    LINFORMER,
    FLASH,
    ACCENT,
    MUTED,
    HEAT_LOW,
    HEAT_MID,
    HEAT_HIGH,
    ON_HEAT_LOW,
    ON_HEAT_HIGH,
];

const INK: Property = property("--fig-ink", "#1a1a1a", "#e8e8ea");
const MUTED_INK: Property = property("--fig-muted-ink", "#55585f", "#abb0ba");
const GRID: Property = property("--fig-grid", "#d9dbe0", "#3a3f4b");
const PAPER: Property = property("--fig-paper", "#ffffff", "#161923");
const ATTENTION: Property = property("--fig-attention", "#1c4cb3", "#5f78f5");
const MULTI_HEAD: Property = property("--fig-multi-head", "#3a1088", "#b28cff");
const DECODING: Property = property("--fig-decoding", "#0898b6", "#8ff5e6");
const MULTI_QUERY: Property = property("--fig-multi-query", "#b08906", "#f4f04c");
const GROUPED_QUERY: Property = property("--fig-grouped-query", "#324e00", "#12c474");
const ROTARY: Property = property("--fig-rotary", "#a7104d", "#ff9cbb");
const LATENT: Property = property("--fig-latent", "#5c0a18", "#a8661a");
const LINFORMER: Property = property("--fig-linformer", "#727cff", "#9ccaff");
const FLASH: Property = property("--fig-flash", "#946708", "#ff8a14");
const ACCENT: Property = property("--fig-accent", "#d9586f", "#ea3168");
const MUTED: Property = property("--fig-muted", "#515d73", "#7d8798");
const HEAT_LOW: Property = property("--fig-heat-low", "#f3f6fa", "#20283a");
const HEAT_MID: Property = property("--fig-heat-mid", "#2b7bba", "#2b7bba");
const HEAT_HIGH: Property = property("--fig-heat-high", "#08142e", "#fdf3c8");
const ON_HEAT_LOW: Property = property("--fig-on-heat-low", "#000000", "#ffffff");
const ON_HEAT_HIGH: Property = property("--fig-on-heat-high", "#ffffff", "#000000");

const fn property(
    name: &'static str,
    light: &'static str,
    dark: &'static str,
) -> Property {
    Property { name, light, dark }
}

impl Property {
    /// As a CSS color. The fallback keeps a drawing whole where nothing sets it.
    fn css(self) -> String {
        format!("var({}, {})", self.name, self.light)
    }
}

/// The rules that a page needs: light values for one selector, dark ones for another.
#[must_use]
pub fn theme_css(light_selector: &str, dark_selector: &str) -> String {
    let rule = |selector: &str, value: fn(&Property) -> &'static str| {
        let mut css = format!("{selector} {{\n");
        for property in &THEME {
            let _ = writeln!(css, "  {}: {};", property.name, value(property));
        }
        css + "}\n"
    };
    rule(light_selector, |p| p.light) + &rule(dark_selector, |p| p.dark)
}

/// The dark values of the properties that `drawing` uses, for a file that stands
/// alone. Inlined in a page, `svg:root` matches nothing and the page's rules hold.
pub(crate) fn standalone_css(drawing: &str) -> String {
    let mut rules = String::new();
    for Property { name, dark, .. } in &THEME {
        if drawing.contains(&format!("({name},")) {
            let _ = write!(rules, "{name}:{dark};");
        }
    }
    format!("@media (prefers-color-scheme: dark) {{ svg:root {{ {rules} }} }}")
}

/// What a series stands for. A mechanism keeps its hue through the whole book; each hue
/// also has its own dash pattern and marker, for readers and printers without color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hue {
    /// Plain attention with one head.
    Attention,
    /// Multi-head attention.
    MultiHead,
    /// Decoding through a cache.
    Decoding,
    /// Multi-query attention.
    MultiQuery,
    /// Grouped-query attention.
    GroupedQuery,
    /// Rotary positions.
    Rotary,
    /// Latent attention.
    Latent,
    /// Linformer.
    Linformer,
    /// Flash attention.
    Flash,
    /// What the reader must not miss: a contrast, a mistake.
    Accent,
    /// What is there for comparison only.
    Muted,
}

/// How a hue looks where its color cannot be told.
pub(crate) struct Look {
    pub(crate) property: Property,
    /// An SVG `stroke-dasharray`; empty for a solid line.
    pub(crate) dash: &'static str,
    pub(crate) marker: Marker,
}

/// The outline of a data point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Marker {
    Disc,
    Ring,
    Square,
    Frame,
    Diamond,
    Lozenge,
    Up,
    Down,
    Tent,
    Cross,
    Plus,
}

impl Hue {
    /// All of them, in the order of the chapters.
    pub const ALL: [Hue; 11] = [
        Hue::Attention,
        Hue::MultiHead,
        Hue::Decoding,
        Hue::MultiQuery,
        Hue::GroupedQuery,
        Hue::Rotary,
        Hue::Latent,
        Hue::Linformer,
        Hue::Flash,
        Hue::Accent,
        Hue::Muted,
    ];

    /// The CSS custom property that holds this hue.
    #[must_use]
    pub fn property(self) -> Property {
        self.look().property
    }

    pub(crate) fn look(self) -> Look {
        let (property, dash, marker) = match self {
            Hue::Attention => (ATTENTION, "", Marker::Disc),
            Hue::MultiHead => (MULTI_HEAD, "7 3", Marker::Square),
            Hue::Decoding => (DECODING, "2 2", Marker::Up),
            Hue::MultiQuery => (MULTI_QUERY, "9 3 2 3", Marker::Diamond),
            Hue::GroupedQuery => (GROUPED_QUERY, "4 2", Marker::Down),
            Hue::Rotary => (ROTARY, "12 3", Marker::Ring),
            Hue::Latent => (LATENT, "9 2 2 2 2 2", Marker::Frame),
            Hue::Linformer => (LINFORMER, "5 4", Marker::Lozenge),
            Hue::Flash => (FLASH, "14 3 4 3", Marker::Tent),
            Hue::Accent => (ACCENT, "6 2 2 2", Marker::Cross),
            Hue::Muted => (MUTED, "3 4", Marker::Plus),
        };
        Look { property, dash, marker }
    }
}

/// How many steps the heat ramp has between its ends. A power of two, so that halves
/// and quarters fall on a step: a last digit cannot push them over to the next one.
pub(crate) const HEAT_STEPS: u8 = 64;

/// The role of a color in a drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Words and axes.
    Ink,
    /// Words that step back.
    MutedInk,
    /// Lines that help to read a value off.
    Grid,
    /// The ground.
    Paper,
    /// A series.
    Hue(Hue),
    /// A step of the heat ramp, from 0 (low) to 64 (high).
    Heat(u8),
    /// Words on that step of the ramp.
    OnHeat(u8),
}

impl Paint {
    /// The step of the heat ramp for a share between 0 and 1.
    #[must_use]
    pub fn heat(share: f64) -> Paint {
        Paint::Heat(heat_step(share))
    }

    /// The ink that stays readable on [`Paint::heat`] of the same share.
    #[must_use]
    pub fn on_heat(share: f64) -> Paint {
        Paint::OnHeat(heat_step(share))
    }

    /// As a CSS color.
    pub(crate) fn css(self) -> String {
        match self {
            Paint::Ink => INK.css(),
            Paint::MutedInk => MUTED_INK.css(),
            Paint::Grid => GRID.css(),
            Paint::Paper => PAPER.css(),
            Paint::Hue(hue) => hue.property().css(),
            Paint::Heat(step) => heat_css(step),
            Paint::OnHeat(step) if step <= HEAT_STEPS / 2 => ON_HEAT_LOW.css(),
            Paint::OnHeat(_) => ON_HEAT_HIGH.css(),
        }
    }

    /// Plotters knows colors as RGB only. The role travels through it in disguise and
    /// is recognized by [`Paint::from_disguise`] in the SVG that comes out.
    pub(crate) fn disguise(self) -> RGBColor {
        match self {
            Paint::Ink => RGBColor(0, 0, 0),
            Paint::MutedInk => RGBColor(0, 1, 0),
            Paint::Grid => RGBColor(0, 2, 0),
            Paint::Paper => RGBColor(0, 3, 0),
            Paint::Hue(hue) => RGBColor(1, hue as u8, 0),
            Paint::Heat(step) => RGBColor(2, step, 0),
            Paint::OnHeat(step) => RGBColor(3, step, 0),
        }
    }

    /// The role behind the first two bytes of a disguise.
    pub(crate) fn from_disguise(kind: u8, index: u8) -> Option<Paint> {
        match (kind, index) {
            (0, 0) => Some(Paint::Ink),
            (0, 1) => Some(Paint::MutedInk),
            (0, 2) => Some(Paint::Grid),
            (0, 3) => Some(Paint::Paper),
            (1, hue) => Hue::ALL.get(usize::from(hue)).copied().map(Paint::Hue),
            (2, step) => Some(Paint::Heat(step)),
            (3, step) => Some(Paint::OnHeat(step)),
            _ => None,
        }
    }
}

fn heat_step(share: f64) -> u8 {
    (share.clamp(0.0, 1.0) * f64::from(HEAT_STEPS)).round() as u8
}

/// The ramp runs low–mid–high, each half mixed in Oklab, where equal steps look equal.
fn heat_css(step: u8) -> String {
    let half = HEAT_STEPS / 2;
    let (from, to, along) = match step.min(HEAT_STEPS) {
        0 => return HEAT_LOW.css(),
        step if step == half => return HEAT_MID.css(),
        HEAT_STEPS => return HEAT_HIGH.css(),
        step if step < half => (HEAT_LOW, HEAT_MID, step),
        step => (HEAT_MID, HEAT_HIGH, step - half),
    };
    let percent = 100.0 * f64::from(along) / f64::from(half);
    format!("color-mix(in oklab, {} {percent}%, {})", to.css(), from.css())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_mark_stands_out_from_the_paper() {
        for p in Hue::ALL.map(Hue::property) {
            for (ink, paper) in [(p.light, PAPER.light), (p.dark, PAPER.dark)] {
                let contrast = contrast(rgb(ink), rgb(paper));
                assert!(contrast >= 3.0, "{}: {ink} on {paper} {contrast:.2}", p.name);
            }
        }
    }

    #[test]
    fn every_word_can_be_read() {
        for p in [INK, MUTED_INK] {
            assert!(contrast(rgb(p.light), rgb(PAPER.light)) >= 7.0, "{}", p.name);
            assert!(contrast(rgb(p.dark), rgb(PAPER.dark)) >= 7.0, "{}", p.name);
        }
    }

    #[test]
    fn the_ramp_reads_in_grayscale() {
        let light = ramp(|p| p.light).map(luminance);
        let dark = ramp(|p| p.dark).map(luminance);
        assert!(light.is_sorted_by(|low, high| low > high), "{light:?}");
        assert!(dark.is_sorted_by(|low, high| low < high), "{dark:?}");
    }

    #[test]
    fn numbers_can_be_read_on_every_step_of_the_ramp() {
        for value in [(|p| p.light) as fn(&Property) -> _, |p| p.dark] {
            for (step, ground) in ramp(value).into_iter().enumerate() {
                let on = if step <= 32 { &ON_HEAT_LOW } else { &ON_HEAT_HIGH };
                let contrast = contrast(rgb(value(on)), ground);
                assert!(contrast >= 4.0, "step {step}: {contrast:.2}");
            }
        }
    }

    #[test]
    fn hues_differ_for_color_blind_readers() {
        // Machado, Oliveira and Fernandes (2009), table 1, severity 1.
        const PROTANOPIA: [[f64; 3]; 3] = [
            [0.152_286, 1.052_583, -0.204_868],
            [0.114_503, 0.786_281, 0.099_216],
            [-0.003_882, -0.048_116, 1.051_998],
        ];
        const DEUTERANOPIA: [[f64; 3]; 3] = [
            [0.367_322, 0.860_646, -0.227_968],
            [0.280_085, 0.672_501, 0.047_413],
            [-0.011_820, 0.042_940, 0.968_881],
        ];
        let hues = Hue::ALL.map(Hue::property);
        for eye in [PROTANOPIA, DEUTERANOPIA] {
            for (i, a) in hues.iter().enumerate() {
                for b in &hues[..i] {
                    for (x, y) in [(a.light, b.light), (a.dark, b.dark)] {
                        let seen = [x, y].map(|hex| oklab(apply(&eye, rgb(hex))));
                        let apart = distance(seen[0], seen[1]);
                        assert!(apart > 0.06, "{x} {y} {apart:.3}");
                    }
                }
            }
        }
    }

    #[test]
    fn hues_differ_without_any_color() {
        let dashes: HashSet<_> = Hue::ALL.map(|hue| hue.look().dash).into();
        let markers: HashSet<_> = Hue::ALL.map(|hue| hue.look().marker).into();
        assert_eq!((dashes.len(), markers.len()), (11, 11));
    }

    #[test]
    fn a_paint_survives_its_disguise() {
        let hues = Hue::ALL.into_iter().map(Paint::Hue);
        let steps = (0..=HEAT_STEPS).flat_map(|s| [Paint::Heat(s), Paint::OnHeat(s)]);
        let roles = [Paint::Ink, Paint::MutedInk, Paint::Grid, Paint::Paper];
        for paint in roles.into_iter().chain(hues).chain(steps) {
            let RGBColor(kind, index, _) = paint.disguise();
            assert_eq!(Paint::from_disguise(kind, index), Some(paint));
        }
    }

    #[test]
    fn a_page_can_set_both_themes() {
        let css = theme_css(":root", ".navy");
        assert!(css.starts_with(":root {\n  --fig-ink: #1a1a1a;\n"));
        assert!(css.contains(".navy {\n  --fig-ink: #e8e8ea;\n"));
    }

    fn ramp(value: fn(&Property) -> &'static str) -> [[f64; 3]; 65] {
        let [low, mid, high] =
            [HEAT_LOW, HEAT_MID, HEAT_HIGH].map(|p| oklab(rgb(value(&p))));
        std::array::from_fn(|step| {
            let along = step as f64 / 32.0;
            let mixed = if along <= 1.0 {
                mix(low, mid, along)
            } else {
                mix(mid, high, along - 1.0)
            };
            from_oklab(mixed)
        })
    }

    fn mix(from: [f64; 3], to: [f64; 3], along: f64) -> [f64; 3] {
        std::array::from_fn(|i| from[i] + (to[i] - from[i]) * along)
    }

    fn rgb(hex: &str) -> [f64; 3] {
        std::array::from_fn(|i| {
            let byte = u8::from_str_radix(&hex[1 + 2 * i..3 + 2 * i], 16).unwrap();
            let s = f64::from(byte) / 255.0;
            if s <= 0.040_45 { s / 12.92 } else { ((s + 0.055) / 1.055).powf(2.4) }
        })
    }

    fn luminance([r, g, b]: [f64; 3]) -> f64 {
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    /// WCAG 2.1, "contrast ratio".
    fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    // Ottosson (2020): from linear sRGB to Oklab and back.
    const TO_LMS: [[f64; 3]; 3] = [
        [0.412_221_47, 0.536_332_54, 0.051_445_99],
        [0.211_903_5, 0.680_699_55, 0.107_396_96],
        [0.088_302_46, 0.281_718_84, 0.629_978_7],
    ];
    const TO_LAB: [[f64; 3]; 3] = [
        [0.210_454_26, 0.793_617_79, -0.004_072_05],
        [1.977_998_5, -2.428_592_21, 0.450_593_71],
        [0.025_904_04, 0.782_771_77, -0.808_675_77],
    ];
    const FROM_LAB: [[f64; 3]; 3] = [
        [1.0, 0.396_337_78, 0.215_803_76],
        [1.0, -0.105_561_35, -0.063_854_17],
        [1.0, -0.089_484_18, -1.291_485_55],
    ];
    const FROM_LMS: [[f64; 3]; 3] = [
        [4.076_741_66, -3.307_711_59, 0.230_969_93],
        [-1.268_438, 2.609_757_4, -0.341_319_4],
        [-0.004_196_09, -0.703_418_61, 1.707_614_7],
    ];

    fn oklab(rgb: [f64; 3]) -> [f64; 3] {
        apply(&TO_LAB, apply(&TO_LMS, rgb).map(f64::cbrt))
    }

    fn from_oklab(lab: [f64; 3]) -> [f64; 3] {
        apply(&FROM_LMS, apply(&FROM_LAB, lab).map(|x| x * x * x))
    }

    fn apply(matrix: &[[f64; 3]; 3], x: [f64; 3]) -> [f64; 3] {
        matrix.map(|row| row.iter().zip(x).map(|(m, x)| m * x).sum())
    }

    fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }
}
