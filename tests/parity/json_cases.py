"""JSON to the letter: values that RFC 8259 allows and texts that it does not, by the sections of its grammar."""

from __future__ import annotations

# Section 6: [ minus ] int [ frac ] [ exp ].
NUMBERS = (
    "0", "-0", "1", "-1", "10", "1234567890", "1.5", "-0.1", "0.0", "1.000", "0.5e0", "1e1", "1E1", "1e+1", "1E-1",
    "0e1", "0E+1", "-0e-0", "1.5e10", "1e05", "1e-400", "-1e-400", "5e-324", "1e308", "1.7976931348623157e308",
    "123456789012345678901234567890", "0.1234567890123456789012345678901234567890", "1" * 308, f"0.{'0' * 400}1",
)  # fmt: skip
NUMBERS_BEYOND_DOUBLES = ("1e309", "-1e309", "1E+400", "1e99999", "9" * 309, "1" * 400 + ".5", "1.8e308")
NO_NUMBERS = (
    "", "+1", "++1", "--1", "-+1", "-", "+", "- 1", "01", "-01", "00", "00.5", "-00", "0123e1", "1.", "-1.", "1.e1",
    ".1", "-.1", ".", "1..2", "1.2.3", "1e", "1E", "1e+", "1e-", "1e1.5", "1e 1", "1 e1", "e1", "1ee1", "1+1", "1-1",
    "1 000", "1_000", "1,000", "0x1", "0X1F", "-0x1", "0x1p3", "0b1", "0o7", "NaN", "-NaN", "nan", "nan(1)", "Infinity",
    "-Infinity", "+Infinity", "infinity", "inf", "-inf", "1f", "1d", "1L", "1n", "1a", "1.2a-3", "\uff11", "1\x00",
    "\x001", "0.3e", "0.e1", "\u0661", "\u00bd", "1\u00a0", "#1", "1/2", "(1)",
)  # fmt: skip

# Section 7. DEL and the line separators may stand unescaped; a surrogate alone is grammar.
STRINGS = (
    '""', '"a"', '"coinbase"', '"a b"', "\"'\"", '"/"', '"\x7f"', r'"\""', r'"\\"', r'"\/"', r'"\b\f\n\r\t"',
    r'"\u0041"', r'"\u0000"', r'"\uffff"', r'"\uD83D\ude00"', r'"\ud800"', r'"\udfff\ud800"', r'"\\u0041"', '"\u00e9"',
    '"\u20ac"', '"\U0001f600"', '"\u2028\u2029"', '"\ufeff"', '"\uffff"', '":01"', '"1.,"', '"}"', '"{[,:]}"',
    '"a\\\\"', '"//"',
)  # fmt: skip
NO_STRINGS = (
    '"', '"a', 'a"', '""a', '"a" "b"', '"""', "'a'", "a", "\u201ca\u201d", '"\\', '"\\"', r'"\x41"', r'"\a"', r'"\0"',
    r'"\v"', r'"\e"', r"'\''", r'"\'"', r'"\U0041"', r'"\u"', r'"\u1"', r'"\u12"', r'"\u123"', r'"\u12G4"', r'"\u 041"',
    r'"\u+041"', r'"\u-041"', r'"\uD83D\u"', '"\\ "', '"\\\n"', '"\\\u00e9"',
    *(f'"{chr(code)}"' for code in range(0x20)),
)  # fmt: skip

# Sections 2 to 5: literals in lower case, four signs of white space, objects, arrays.
STRUCTURES = (
    "null", "true", "false", " null", "\tnull", "\nnull", "\rnull", "null \t\n\r", "[]", "[ ]", "[\n]", "{}", "{ }",
    "[[]]", "[{}]", "[1,2]", "[ 1 , 2 ]", "[null,true,false]", '{"a":1}', '{ "a" : 1 }', '{"a":{"b":[null,{}]}}',
    '{"":0}', '{"a":1,"a":2}', '{"open":"no","high":null}', "[" * 60 + "]" * 60, '{"a":' * 60 + "0" + "}" * 60,
)  # fmt: skip
NO_STRUCTURES = (
    "nul", "nulll", "NULL", "Null", "tru", "True", "TRUE", "fals", "False", "falsee", "None", "undefined", "null null",
    "null,", ",null", "[", "]", "{", "}", "[1", "1]", "[1,", "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[1:2]", "[1;2]",
    "[}", "{]", "[1}", "[[1]", "[1]]", '{"a"', '{"a":', '{"a"}', '{"a",1}', '{"a":}', '{"a":1', '{"a":1,', '{"a":1,}',
    '{,"a":1}', '{"a":1,,"b":2}', '{"a":1 "b":2}', '{"a" 1}', '{"a"::1}', '{"a":1;"b":2}', '{"a"=1}', "{a:1}",
    "{'a':1}", "{1:1}", "{null:1}", "{[]:1}", "{:1}", '{"a":1}}', "{}{}", "[]{}", "/**/null", "null//", "[1/**/]",
    '{"a":1/**/}', "#\nnull", "\x0bnull", "\x0cnull", "\u00a0null", "\u2028null", "\u3000null", "\ufeffnull",
    "\x00null", "null\x00", "\x1fnull", "\x08null", "*", "&", "<null>", "\\u006eull", "@", "null}", "[" * 65 + "]" * 65,
    '{"a":' * 65 + "0" + "}" * 65,
)  # fmt: skip

# Bytes between two quotes: section 8.1 and RFC 3629.
BYTES = (
    b"\x7f", b"\xc2\x80", b"\xdf\xbf", b"\xe0\xa0\x80", b"\xe2\x82\xac", b"\xed\x9f\xbf", b"\xee\x80\x80",
    b"\xef\xbf\xbf", b"\xf0\x90\x80\x80", b"\xf0\x9f\x98\x80", b"\xf4\x8f\xbf\xbf",
)  # fmt: skip
NO_BYTES = (
    b"\x80", b"\xbf", b"\xc0\x80", b"\xc0\xaf", b"\xc1\xbf", b"\xc3", b"\xc3\x28", b"\xc3\xc3\xa9\xa9", b"\xe0\x80\x80",
    b"\xe0\x9f\xbf", b"\xe2\x82", b"\xe2\x28\xa1", b"\xe2\x82\x28", b"\xed\xa0\x80", b"\xed\xbf\xbf",
    b"\xed\xa0\xbd\xed\xb8\x80", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x98", b"\xf0\x28\x8c\xbc",
    b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xfe", b"\xff",
    b"\xe9", b"\xff\xfe", b"\xfe\xff",
)  # fmt: skip

VALUES = [*NUMBERS, *NUMBERS_BEYOND_DOUBLES, *STRINGS, *STRUCTURES]
NO_VALUES = [*NO_NUMBERS, *NO_STRINGS, *NO_STRUCTURES]
