/* What cannot be done is said in a box (window) or on stderr (console). ADVICE, defined before this is included, is what to do then. */
#include <windows.h>
#include <stdio.h>

static int failed(const wchar_t *what, DWORD code)
{
    wchar_t text[512];
    _snwprintf(text, 511, L"%ls (error %lu). " ADVICE, what, code);
    text[511] = 0;
#ifdef VIDCONF_CONSOLE
    fwprintf(stderr, L"%ls\n", text);
#else
    MessageBoxW(NULL, text, L"Vidconf", MB_ICONERROR | MB_SETFOREGROUND);
#endif
    return 70;
}
