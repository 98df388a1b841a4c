#include "json.h"

#include <inttypes.h>
#include <string.h>

// Bytes of the UTF-8 character at `text`, 0 if it is not one.
static int CharacterSize(const unsigned char* text) {
  if (text[0] < 0x80) return 1;
  int size = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
  if (text[0] < 0xc2 || text[0] > 0xf4) return 0;
  for (int i = 1; i < size; ++i)
    if ((text[i] & 0xc0) != 0x80) return 0;
  // Longer than needed, half of a surrogate pair, or past U+10FFFF.
  if ((text[0] == 0xe0 && text[1] < 0xa0) ||
      (text[0] == 0xed && text[1] > 0x9f) ||
      (text[0] == 0xf0 && text[1] < 0x90) ||
      (text[0] == 0xf4 && text[1] > 0x8f))
    return 0;
  return size;
}

static void WriteQuoted(FILE* out, const char* text) {
  const unsigned char* at = (const unsigned char*)text;
  fputc('"', out);
  while (*at) {
    int size = CharacterSize(at);
    if (*at == '"' || *at == '\\')
      fprintf(out, "\\%c", *at);
    else if (*at < 0x20)
      fprintf(out, "\\u%04x", *at);
    else if (size)
      fwrite(at, 1, (size_t)size, out);
    else
      fputs("\\ufffd", out);
    at += size ? size : 1;
  }
  fputc('"', out);
}

static void Begin(Json* json, const char* key) {
  if (json->comma) fputs(", ", json->out);
  json->comma = true;
  if (!key) return;
  WriteQuoted(json->out, key);
  fputs(": ", json->out);
}

void JsonOpen(Json* json, const char* key, char bracket) {
  Begin(json, key);
  fputc(bracket, json->out);
  json->comma = false;
}

void JsonClose(Json* json, char bracket) {
  fputc(bracket, json->out);
  json->comma = true;
}

void JsonText(Json* json, const char* key, const char* text) {
  Begin(json, key);
  if (text)
    WriteQuoted(json->out, text);
  else
    fputs("null", json->out);
}

void JsonInteger(Json* json, const char* key, int64_t value) {
  Begin(json, key);
  fprintf(json->out, "%" PRId64, value);
}

void JsonReal(Json* json, const char* key, double value) {
  Begin(json, key);
  fprintf(json->out, "%.3f", value);
}

void JsonBool(Json* json, const char* key, bool value) {
  Begin(json, key);
  fputs(value ? "true" : "false", json->out);
}

void JsonShape(Json* json, const char* key, int rank, const int64_t* dims) {
  JsonOpen(json, key, '[');
  for (int i = 0; i < rank; ++i) {
    if (dims[i] < 0)
      JsonText(json, NULL, NULL);
    else
      JsonInteger(json, NULL, dims[i]);
  }
  JsonClose(json, ']');
}
