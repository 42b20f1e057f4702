"""Text files of powder scans: numbers, headings and units as programs and spreadsheets write them."""

import numpy as np
import pytest

from xtalsk.io import BrokenFileError, read_profile, read_spectrum

TWO_THETA = 26.0 + 0.02 * np.arange(40)  # one peak at 26.64°, quartz with Cu Kα1
COUNTS = np.rint(60 + 40_000 * np.exp(-(((TWO_THETA - 26.64) / 0.05) ** 2))).astype(int)
WAVELENGTH = 1.5406
S = 2 * np.sin(np.radians(TWO_THETA / 2)) / WAVELENGTH  # 1/d in 1/Å


def write(tmp_path, rows, heading="", end="\n", encoding="utf-8", name="scan.xy"):
    path = tmp_path / name
    path.write_bytes((heading + end.join(rows) + end).encode(encoding))
    return path


def rows(pattern, *columns):
    """Lines of numbers in a format."""
    return [pattern.format(*values) for values in zip(*columns, strict=True)]


def comma(lines):
    return [line.replace(".", ",") for line in lines]


def check(profile, counts=COUNTS):
    np.testing.assert_allclose(profile.two_theta, TWO_THETA, atol=1e-6)
    np.testing.assert_allclose(profile.intensity, counts)


PLAIN = rows("{:.2f} {}", TWO_THETA, COUNTS)


@pytest.mark.parametrize(
    "lines",
    [
        comma(rows("{:.2f}  {}", TWO_THETA, COUNTS)),
        comma(rows("{:.2f}\t{}", TWO_THETA, COUNTS)),
        comma(rows("{:.2f};{}", TWO_THETA, COUNTS)),
        comma(rows("{:.2f};{:.1f};{:.3f}", TWO_THETA, COUNTS, np.sqrt(COUNTS))),
        comma(rows("{:.2f} {:.1f} {:.3f}", TWO_THETA, COUNTS, np.sqrt(COUNTS))),
        comma(rows('"{:.2f}","{}"', TWO_THETA, COUNTS)),
        rows("{:.2f}\t{:,}", TWO_THETA, COUNTS),
        rows("{:.2f} {:,}", TWO_THETA, COUNTS),
        rows("{:.2f};{:,}", TWO_THETA, COUNTS),
        rows('{:.2f},"{:,}"', TWO_THETA, COUNTS),
        rows("{:.2f}\t{:,.1f}", TWO_THETA, COUNTS),
        [line.replace(",", "\u00a0") for line in rows("{:.2f}\t{:,}", TWO_THETA, COUNTS)],
        [line.replace(",", "'") for line in rows("{:.2f}\t{:,}", TWO_THETA, COUNTS)],
        [
            a + ";" + b.replace(",", ".")
            for a, b in zip(comma(rows("{:.2f}", TWO_THETA)), rows("{:,}", COUNTS), strict=True)
        ],
        comma(rows("{:.3f}\t{}", TWO_THETA, COUNTS)),
        rows("{:.2f},{},", TWO_THETA, COUNTS),
        rows("{:.2f},,{}", TWO_THETA, COUNTS),
        rows("{:.2f}, {}, {:.2f}", TWO_THETA, COUNTS, np.sqrt(COUNTS)),
        rows("  {:.2f}  {}  0.5  7", TWO_THETA, COUNTS),
        PLAIN[::-1],
        rows("{:.6e} {:.6E}", TWO_THETA, COUNTS),
        [line.replace("e", "D") for line in rows("{:.6e} {:.6e}", TWO_THETA, COUNTS)],
        rows("{:.2f} {} inf", TWO_THETA, COUNTS),
        rows("{:.2f},{},n/a", TWO_THETA, COUNTS),
        rows("{:.2f} {} -1.#IND", TWO_THETA, COUNTS),
    ],
    ids=[
        "comma blanks",
        "comma tab",
        "comma semicolon",
        "comma three",
        "comma three blanks",
        "comma quoted",
        "thousands tab",
        "thousands blank",
        "thousands semicolon",
        "thousands quoted",
        "thousands and point",
        "thousands nbsp",
        "thousands apostrophe",
        "thousands points",
        "three decimals",
        "comma at end",
        "empty column",
        "comma and blank",
        "four columns",
        "descending",
        "exponents",
        "fortran",
        "unused inf",
        "unused n/a",
        "unused ind",
    ],
)
def test_numbers(tmp_path, lines):
    check(read_profile(write(tmp_path, lines)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path, encoding, end):
    check(read_profile(write(tmp_path, PLAIN, f"# 2θ counts{end}", end, encoding)))


@pytest.mark.parametrize("encoding", ["cp1251", "shift_jis", "gb18030", "cp1252", "utf-8", "iso8859_7"])
def test_comments_in_other_alphabets(tmp_path, encoding):
    texts = {
        "cp1251": "# Образец: кварц\nУгол Интенсивность\n",
        "shift_jis": "# 試料 石英\n角度 強度\n",
        "gb18030": "! 样品 石英\n角度 强度\n",
        "cp1252": "; Größe in µm\nWinkel Zählrate\n",
        "utf-8": "# образец 試料 Ä\nугол\n",
        "iso8859_7": "# δείγμα\nγωνία ένταση\n",
    }
    check(read_profile(write(tmp_path, PLAIN, texts[encoding], encoding=encoding)))


@pytest.mark.parametrize(
    ("heading", "pattern", "columns"),
    [
        ("2theta,d [Å],Iobs\n", "{:.2f},{:.5f},{}", (TWO_THETA, 1 / S, COUNTS)),
        ("Pos. [°2Th.],d-spacing [Å],Iobs [cts]\n", "{:.2f},{:.5f},{}", (TWO_THETA, 1 / S, COUNTS)),
        ("Intensity;2Theta (deg)\n", "{};{:.2f}", (COUNTS, TWO_THETA)),
        ("Counts  Angle\n", "{}  {:.2f}", (COUNTS, TWO_THETA)),
        ("# no.\t2 theta\tsigma\tcounts/s\n", "{}\t{:.2f}\t{:.2f}\t{}", (range(40), TWO_THETA, S, COUNTS)),
        ("2Theta Ycalc Yobs Background\n", "{:.2f} {:.3f} {} {:.3f}", (TWO_THETA, S, COUNTS, S)),
        ("two-theta, intensity, esd\n", "{:.2f} {} {:.2f}", (TWO_THETA, COUNTS, S)),
        ("'2Theta (°)' , 'I'\n", "{:.2f} {}", (TWO_THETA, COUNTS)),
        ("2θ / °; I / a.u.\n", "{:.2f};{}", (TWO_THETA, COUNTS)),
        ("2th_deg  I\n", "{:.2f}  {}", (TWO_THETA, COUNTS)),
        ("2th_rad  I\n", "{:.9f}  {}", (np.radians(TWO_THETA), COUNTS)),
        ("# 2theta (rad)\n", "{:.9f}  {}", (np.radians(TWO_THETA), COUNTS)),
        ("scattering angle (mrad),counts\n", "{:.6f},{}", (1000 * np.radians(TWO_THETA), COUNTS)),
        ("x y\n", "{:.2f} {}", (TWO_THETA, COUNTS)),
        ("a.tif\n2-Theta Angle (Degrees)\nIntensity\n      40\n", " {:.7e} {:.7e}", (TWO_THETA, COUNTS)),
        ("#S 1\n#L Two Theta (deg)  Intensity\n", "{:.2f} {}", (TWO_THETA, COUNTS)),
        ("Sample: quartz 5 g\nAngle,Intensity\n", "{:.2f},{}", (TWO_THETA, COUNTS)),
    ],
)
def test_columns_by_name(tmp_path, heading, pattern, columns):
    check(read_profile(write(tmp_path, rows(pattern, *columns), heading)))


@pytest.mark.parametrize(
    ("heading", "axis"),
    [
        ("# q_nm^-1  I  sigma\n", 20 * np.pi * S),
        ("# q_A^-1  I\n", 2 * np.pi * S),
        ("#S 1\n#L q_A^-1  I\n", 2 * np.pi * S),
        ("a.tif\nq_nm^-1\nIntensity\n     40\n", 20 * np.pi * S),
        ("s (1/Å) I\n", S),
        ("s [nm^-1],I\n", 10 * S),
        ("k_A^-1 intensity\n", S),
        ("1/d (Å⁻¹)\tcounts\n", S),
        ("sin(theta)/lambda (1/Å),counts\n", S / 2),
        ("d*2_nm^-2  I\n", 100 * S**2),
        ("d [Å];counts\n", 1 / S),
        ("d-spacing (nm), counts\n", 0.1 / S),
        ("d I\n", 1 / S),
    ],
)
def test_axes_of_reciprocal_length(tmp_path, heading, axis):
    pattern = "{:.9e} {} 0.5" if "sigma" in heading else "{:.9e} {}"
    lines = rows(pattern, axis, COUNTS)
    profile = read_profile(write(tmp_path, lines, heading))
    np.testing.assert_allclose(profile.q, S, rtol=1e-6)
    np.testing.assert_allclose(profile.intensity, COUNTS)


def test_the_letter_q(tmp_path):
    path = write(tmp_path, rows("{:.9f} {}", S, COUNTS), "q (1/Å)  I\n")
    with pytest.warns(UserWarning, match=r"scan\.xy: the column 'q \(1/Å\)' is read as q = 2π/d"):
        np.testing.assert_allclose(read_profile(path).q, S / (2 * np.pi), rtol=1e-6)
    np.testing.assert_allclose(read_profile(path, axis="q").q, S, rtol=1e-6)


@pytest.mark.parametrize(
    ("heading", "wavelength"),
    [
        ("# Wavelength: 1.5406e-10 m\n", 1.5406),
        ("# wavelength = 0.15406 nm\n", 1.5406),
        ("Wavelength (nm): 0.15406\n", 1.5406),
        ("# λ = 1,5406 Å\n", 1.5406),
        ("# lambda 0.7093 A\n", 0.7093),
        ("# Wavelength: 1.5406\n", 1.5406),
        ("K-Alpha1 wavelength,1.54060\nK-Alpha2 wavelength,1.54443\n", 1.5406),
        ("K-Alpha2 wavelength,1.54443\nK-Alpha1 wavelength,1.54060\n", 1.5406),
        ("# sin(theta)/lambda up to 0.6 was measured\n", 1.2),
        ("# wavelength 0.154\n", 1.2),
        ("", 1.2),
    ],
)
def test_wavelengths(tmp_path, heading, wavelength):
    profile = read_profile(write(tmp_path, PLAIN, heading), wavelength=1.2)
    assert profile.wavelength == pytest.approx(wavelength)


def test_intensities_not_measured(tmp_path):
    lines = ["26.00 nan 1.0", "26.02 -20 inf", "26.04 5 nan", "26.04 nan 1"]
    np.testing.assert_array_equal(read_profile(write(tmp_path, lines)).intensity, [np.nan, -20, 5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("20.0 5\n20.1 inf\n", "finite number for the intensity in line 2, got 'inf'"),
        ("20.0 5\nnan 6\n20.2 5\n", "finite number for the axis in line 2, got 'nan'"),
        ("20,5\t1.5\n20,6\t1.6\n", "decimal commas and with decimal points"),
        ("20;1,234\n21;2,345\n", "'1,234' may be 1.234 or 1234"),
        ("10,00,63\n10,02,65\n", "cannot be told apart in '10,00,63'"),
        ("20.0,5\n20.1,\n20.2,6\n", "expected two numbers in line 2, got '20.1'"),
        ("63 20.0\n51 20.1\n70 20.2\n60 20.3\n", "second column is in order and the first is not"),
        (
            "10,0 0,02 10,4\n5 6 7 8 9\n6 4 9 3 7\n9 1 2 3 4\n5 7 8 9 1\n",
            "first of 5 columns",
        ),
        ("2theta,I,2theta,I\n1,5,2,6\n2,5,3,6\n", "names '2theta' more than once"),
        ("vector of scattering [1/nm], N\n1 5\n2 6\n", "cannot tell the axis from the heading 'vector"),
        ("theta (deg),counts\n10,5\n11,6\n", "'theta .deg.'; give axis='two_theta'"),
        ("q I\n0.1 5\n0.2 6\n", "'q' without a unit; write q_A"),
        ("s I\n0.1 5\n0.2 6\n", "'s' without a unit"),
        ("r_mm I sigma\n1 5 1\n2 6 1\n", "expected a column of 2θ, q or d"),
        ("Energy (keV),Counts\n1,5\n2,6\n", "expected a column of 2θ, q or d"),
        ("2theta sigma\n1 5\n2 6\n", "no column of intensities in the heading 2theta . sigma"),
        ("d I\n1 5\n0 6\n", "expected a positive d in line 3"),
        ("PK\x03\x04\x00\x00", "zip archive; export the data as text"),
        ("20 80 0.02 7\n20 5\n21 6\n22 7\n23 8\n", "expected 2 columns .* found 4 in line 1"),
    ],
)
def test_errors_name_file_and_line(tmp_path, text, message):
    path = tmp_path / "bad.xy"
    path.write_text(text)
    with pytest.raises(BrokenFileError, match=rf"^bad\.xy: .*{message}"):
        read_profile(path)


@pytest.mark.parametrize(
    ("heading", "axis", "message"),
    [
        ("q_nm^-1 I\n", "q", "axis='q' stands for 1/d in 1/Å"),
        ("q_nm^-1 I\n", "two_theta", "axis='two_theta', but the heading names 'q_nm"),
        ("2theta I\n", "q", "axis='q', but the heading names '2theta'"),
    ],
)
def test_headings_that_contradict_the_parameter(tmp_path, heading, axis, message):
    with pytest.raises(BrokenFileError, match=message):
        read_profile(write(tmp_path, PLAIN, heading), axis=axis)


def test_the_parameter_chooses_among_axes(tmp_path):
    path = write(tmp_path, rows("{:.2f},{:.7f},{}", TWO_THETA, 1 / S, COUNTS), "2theta,d [Å],I\n")
    check(read_profile(path, axis="two_theta"))
    np.testing.assert_allclose(read_profile(path, axis="q").q, S, rtol=1e-6)
    check(read_profile(write(tmp_path, PLAIN, "Theta I\n"), axis="two_theta"))


@pytest.mark.parametrize(
    ("heading", "pattern"),
    [
        ("Channel,Energy (keV),Counts\n", "{0},{1:.2f},{2}"),
        ("Counts;E / keV\n", "{2};{1:.2f}"),
        ("keV\tsigma\tcps\n", "{1:.2f}\t1\t{2}"),
        ("eV,counts\n", "{3:.0f},{2}"),
        ("Energy loss [eV]  Icalc  Iobs\n", "{3:.0f}  7  {2}"),
    ],
)
def test_spectra_by_name(tmp_path, heading, pattern):
    energy = 100 + 10 * np.arange(40)
    lines = rows(pattern, range(40), energy / 1000, COUNTS, energy)
    spectrum = read_spectrum(write(tmp_path, lines, heading, name="a.csv"))
    np.testing.assert_allclose(spectrum.energy, energy)
    np.testing.assert_allclose(spectrum.counts, COUNTS)
    with pytest.raises(BrokenFileError, match="expected a column of energies, the heading names '2theta'"):
        read_spectrum(write(tmp_path, PLAIN, "2theta I\n"))


def fullprof(counts, per_line=10):
    lines = [counts[i : i + per_line] for i in range(0, len(counts), per_line)]
    return ["".join(f"{c:8d}" for c in line) for line in lines]


@pytest.mark.parametrize(
    "heading",
    [
        "  26.0000  0.0200  26.7800\n",
        "26.0 26.78 0.02\n",
        "quartz, 40 kV\n 26.0000  0.0200  26.7800  quartz 2026\n",
    ],
)
@pytest.mark.parametrize("per_line", [10, 8, 1])
def test_start_step_stop(tmp_path, heading, per_line):
    check(read_profile(write(tmp_path, fullprof(COUNTS, per_line), heading, name="a.dat")))


def test_start_step_stop_before_columns(tmp_path):
    check(read_profile(write(tmp_path, PLAIN, "26.0 26.78 0.02\n")))
    check(read_profile(write(tmp_path, [f"{line} 1.0" for line in PLAIN], "26.0 0.02 26.78\n")))


def test_truncated_scans_in_steps(tmp_path):
    path = write(tmp_path, fullprof(COUNTS)[:-1], "26.0 0.02 26.78\n", name="a.dat")
    with pytest.raises(BrokenFileError, match=r"a\.dat: line 1 gives 40 points .* found 30 intensities"):
        read_profile(path)


def test_gsas(tmp_path):
    std = ["".join(f" 1{c:6d}" for c in COUNTS[i : i + 10]) for i in range(0, 40, 10)]
    esd = ["".join(f"{c:8d}{5:8d}" for c in COUNTS[i : i + 5]) for i in range(0, 40, 5)]
    fxye = rows("{:.4f} {} {:.3f}", 100 * TWO_THETA, COUNTS, np.sqrt(COUNTS))
    for kind, lines in (("STD", std), ("", std), ("ESD", esd), ("FXYE", fxye)):
        title = f"quartz\n# a comment\nBANK 1 40 {len(lines)} CONST 2600.0 2.0 0 0 {kind}\n"
        check(read_profile(write(tmp_path, lines, title, name="a.gsa")))
    with pytest.raises(BrokenFileError, match=r"gives 40 points, found 30; the file is truncated"):
        read_profile(write(tmp_path, std[:-1], title.replace("FXYE", "STD"), name="a.gsa"))
    with pytest.raises(BrokenFileError, match="expected a scan in constant steps, got 'SLOG'"):
        read_profile(write(tmp_path, std, title.replace("CONST", "SLOG").replace("FXYE", "STD")))


def test_columns_without_a_blank_between_them(tmp_path):
    text = "14.0688 397\n14.1185 1697\n14.168110228\n14.2177 1515\n14.26739\n14.3169 8\n"
    with pytest.warns(UserWarning, match=r"a\.xy: .* 2 lines; read as 3: 14\.1681 and 10228, 5: 14"):
        profile = read_profile(write(tmp_path, [text], name="a.xy"), wavelength=1.5406)
    assert profile.two_theta.tolist() == [14.0688, 14.1185, 14.1681, 14.2177, 14.2673, 14.3169]
    assert profile.intensity.tolist() == [397, 1697, 10228, 1515, 9, 8]
    for field in ("14.368110228", "14.1681", "x14.168110228"):
        with pytest.raises(BrokenFileError, match=r"a\.xy: expected two numbers in line 3"):
            read_profile(write(tmp_path, [text.replace("14.168110228", field)], name="a.xy"), wavelength=1.5)


def test_columns_of_fixed_width_that_touch_in_many_rows(tmp_path):
    two_theta = 10 + 0.0496183 * np.arange(420)
    counts = np.choose(np.arange(420) % 3, [42, 442, 1305 + np.arange(420)])  # four digits leave no blank
    table = "\n".join(f"{x:.6g}{c:4d}" for x, c in zip(two_theta, counts, strict=True))
    with pytest.warns(UserWarning, match="in 140 lines"):
        profile = read_profile(write(tmp_path, [table], name="a.xy"), wavelength=1.5406)
    np.testing.assert_array_equal(profile.intensity, counts)
    np.testing.assert_allclose(profile.two_theta, two_theta, atol=6e-5)


def test_ras(tmp_path):
    heading = (
        '*RAS_DATA_START\n*HW_XG_WAVE_LENGTH_ALPHA1 "1.540593"\n*HW_XG_WAVE_LENGTH_ALPHA2 "1.544414"\n'
        '*HW_XG_WAVE_LENGTH_UNIT "Angstrom"\n*MEAS_SCAN_AXIS_X "TwoThetaTheta"\n*RAS_INT_START\n'
    )
    attenuation = np.where(COUNTS > 1000, 10.0, 1.0)
    lines = rows("{:.4f} {:.4f} {:.4f}", TWO_THETA, COUNTS / attenuation, attenuation)
    lines += ["*RAS_INT_END", "*RAS_DATA_END"]
    profile = read_profile(write(tmp_path, lines, heading, name="a.ras"))
    check(profile)
    assert profile.wavelength == 1.540593
    with pytest.raises(BrokenFileError, match="expected a scan of 2θ, got a scan of Omega"):
        read_profile(write(tmp_path, lines, heading.replace("TwoThetaTheta", "Omega"), name="a.ras"))
