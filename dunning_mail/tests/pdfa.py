"""What PDF/A-3b asks of a file (ISO 19005-3:2012, level B), as far as it concerns letters.

No validator can be had from the package registries that the tests may use, so this reads the file with pypdf and goes
through the clauses itself. Not looked at: the contents of embedded fonts (6.2.11.5 widths, 6.2.11.8 .notdef), the inner
structure of JPEG 2000 pictures, forms, digital signatures, and embedded files, of which the last four do not occur.
"""

import io
import re

from pypdf import PdfReader
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, StreamObject

# 6.2.10, table of ISO 32000-1 11.3.5
BLEND_MODES = {
    'Normal', 'Compatible', 'Multiply', 'Screen', 'Overlay', 'Darken', 'Lighten', 'ColorDodge', 'ColorBurn',
    'HardLight', 'SoftLight', 'Difference', 'Exclusion', 'Hue', 'Saturation', 'Color', 'Luminosity'}
# 6.5.1
ACTIONS = {'GoTo', 'GoToR', 'GoToE', 'Thread', 'URI', 'Named', 'SubmitForm'}
ANNOTATION_HIDDEN = 0b100011  # Invisible, Hidden, NoView
ANNOTATION_PRINT = 0b100


def find_faults(content):
    """Say where a PDF breaks PDF/A-3b.

    :param bytes content: the file
    :return: list of texts that begin with the clause, empty for a file that keeps all of them
    """
    faults = []
    # 6.1.2: header, and a comment of bytes above 127 that tells transfers it is binary
    if not re.match(rb'%PDF-1\.[0-7]\r?\n%[\x80-\xff]{4}', content):
        faults.append("6.1.2: no header of a binary PDF 1.x")
    # 6.1.3: nothing behind the end
    if not re.search(rb'%%EOF(\r\n|\r|\n)?\Z', content):
        faults.append("6.1.3: data behind the end of the file")
    reader = PdfReader(io.BytesIO(content))
    if reader.is_encrypted:
        return [*faults, "6.1.3: encrypted"]
    trailer, catalog = reader.trailer, reader.trailer['/Root']
    if len(trailer.get('/ID', ())) != 2:
        faults.append("6.1.3: no identifier in the trailer")
    for name in ('/Requirements', '/OCProperties', '/AA'):
        if name in catalog:
            faults.append(f"6.5.2, 6.9, 6.11: {name} in the catalogue")
    if {'/XFA', '/NeedAppearances'} & set(catalog.get('/AcroForm', {})):
        faults.append("6.4: a form that is drawn by its reader")
    faults += _find_metadata_faults(catalog)
    profile = _find_output_profile(catalog, faults)
    objects = list(_walk(catalog))
    for entry in objects:
        if isinstance(entry, StreamObject):
            faults += _find_stream_faults(entry)
        faults += _find_object_faults(entry)
    if not any(entry.get('/Type') == '/Font' for entry in objects):
        faults.append("6.2.11: no font at all: nothing was looked at")
    # 6.2.4.3: colours of a device need the profile of such a device
    used = {name for entry in objects for name in _get_device_colors(entry)}
    for name, space in (('/DeviceRGB', b'RGB '), ('/DeviceCMYK', b'CMYK')):
        if name in used and profile != space:
            faults.append(f"6.2.4.3: {name} without an output intent for it")
    return faults


def _walk(root):
    """Yield every dictionary and stream that can be reached, once."""
    seen, waiting = set(), [root]
    while waiting:
        entry = waiting.pop()
        entry = entry.get_object() if hasattr(entry, 'get_object') else entry
        if isinstance(entry, (DictionaryObject, ArrayObject)):
            if id(entry) in seen:
                continue
            seen.add(id(entry))
            waiting += entry.values() if isinstance(entry, DictionaryObject) else entry
        if isinstance(entry, DictionaryObject):
            yield entry


def _find_metadata_faults(catalog):
    """6.6.2, 6.6.4: XMP that says which part and level the file keeps."""
    metadata = catalog.get('/Metadata')
    if metadata is None:
        return ["6.6.2.1: no XMP metadata"]
    text = metadata.get_object().get_data()
    faults = []
    for name, value in (('part', '3'), ('conformance', 'B')):
        if not re.search(rf'pdfaid:{name}(="|>){value}'.encode(), text):
            faults.append(f"6.6.4: the metadata do not say {name} {value}")
    return faults


def _find_output_profile(catalog, faults):
    """6.2.3: one output intent with an ICC profile.

    :return: the profile's colour space as four bytes, None without one
    """
    intents = [intent.get_object() for intent in catalog.get('/OutputIntents', ())]
    profiles = [intent['/DestOutputProfile'].get_object() for intent in intents if (
        intent.get('/S') == '/GTS_PDFA1' and '/DestOutputProfile' in intent)]
    if len(profiles) != 1:
        faults.append(f"6.2.3: {len(profiles)} output intents with a profile")
        return None
    data = profiles[0].get_data()
    # ISO 15076-1, 7.2: device class, colour space, signature
    if data[36:40] != b'acsp' or data[12:16] not in (b'mntr', b'prtr', b'scnr', b'spac'):
        faults.append("6.2.3: the output profile is no ICC profile of an output device")
    return data[16:20]


def _find_stream_faults(stream):
    """6.1.7: streams are in the file, and coded as ISO 32000 lays open."""
    faults = []
    if {'/F', '/FFilter', '/FDecodeParms'} & set(stream):
        faults.append("6.1.7.1: a stream outside of the file")
    filters = stream.get('/Filter', [])
    for name in [filters] if isinstance(filters, NameObject) else filters:
        if name in ('/LZWDecode', '/Crypt'):
            faults.append(f"6.1.7.2: filter {name}")
    return faults


def _find_object_faults(entry):
    faults = []
    kind, subtype = entry.get('/Type'), entry.get('/Subtype')
    if kind == '/Font':
        faults += _find_font_faults(entry)
    elif kind == '/ExtGState' or {'/BM', '/CA', '/ca', '/TR', '/HTP'} & set(entry):
        # 6.2.5, 6.2.10
        if '/TR' in entry or '/HTP' in entry or entry.get('/TR2', '/Default') != '/Default':
            faults.append("6.2.5: a transfer function")
        modes = entry.get('/BM', [])
        for mode in [modes] if isinstance(modes, NameObject) else modes:
            if mode[1:] not in BLEND_MODES:
                faults.append(f"6.2.10: blend mode {mode}")
    if subtype == '/Image' and ({'/Alternates', '/OPI'} & set(entry) or entry.get('/Interpolate')):
        faults.append("6.2.8: a picture with alternates, OPI or interpolation")
    if subtype == '/Form' and {'/OPI', '/PS', '/Ref'} & set(entry):
        faults.append("6.2.9: a form XObject that refers to something else")
    if kind == '/Page' and {'/AA', '/PresSteps'} & set(entry):
        faults.append("6.5.2, 6.10: actions or presentations of a page")
    if kind == '/Annot' or ('/Rect' in entry and subtype):
        faults += _find_annotation_faults(entry, subtype)
    if (kind == '/Action' or '/JS' in entry) and str(entry.get('/S'))[1:] not in ACTIONS:
        faults.append(f"6.5.1: action {entry.get('/S')}")
    return faults


def _find_annotation_faults(entry, subtype):
    """6.3: seen and printed as everything else."""
    faults = []
    if subtype in ('/3D', '/Sound', '/Screen', '/Movie'):
        faults.append(f"6.3.1: annotation {subtype}")
    flags = int(entry.get('/F', 0))
    if subtype != '/Popup' and (not flags & ANNOTATION_PRINT or flags & ANNOTATION_HIDDEN):
        faults.append(f"6.3.2: annotation {subtype} is not printed")
    if subtype not in ('/Popup', '/Link') and '/AP' not in entry:
        faults.append(f"6.3.3: annotation {subtype} has no appearance")
    return faults


def _find_font_faults(font):
    """6.2.11: every font is in the file, and its codes lead to its glyphs."""
    faults = []
    name, subtype = font.get('/BaseFont', '?'), font.get('/Subtype')
    if subtype == '/Type0':
        if font.get('/Encoding') not in ('/Identity-H', '/Identity-V') and not isinstance(
                font['/Encoding'].get_object(), StreamObject):
            faults.append(f"6.2.11.3.3: font {name}: CMap {font.get('/Encoding')} is not in the file")
    elif subtype != '/Type3':
        descriptor = font.get('/FontDescriptor', DictionaryObject()).get_object()
        if not {'/FontFile', '/FontFile2', '/FontFile3'} & set(descriptor):
            faults.append(f"6.2.11.4.1: font {name} is not in the file")
        if subtype == '/CIDFontType2' and '/CIDToGIDMap' not in font:
            faults.append(f"6.2.11.3.2: font {name} does not say which glyph belongs to a code")
    return faults


def _get_device_colors(entry):
    """Return the device's colour spaces that an object names, in its resources or in what it draws."""
    spaces = {'/DeviceRGB', '/DeviceCMYK', '/DeviceGray'}
    found = {str(value) for value in entry.values() if isinstance(value, NameObject)} & spaces
    if entry.get('/Type') == '/Page' or entry.get('/Subtype') == '/Form':
        parts = entry.get('/Contents', entry)
        streams = [part.get_object() for part in (parts if isinstance(parts, ArrayObject) else [parts])]
        drawn = b'\n'.join(stream.get_data() for stream in streams if isinstance(stream, StreamObject))
        for operator, space in ((b'rg', '/DeviceRGB'), (b'k', '/DeviceCMYK'), (b'g', '/DeviceGray')):
            if re.search(rb'[\d.]\s+(%s|%s)(?=\s|$)' % (operator, operator.upper()), drawn):
                found.add(space)
    return found
