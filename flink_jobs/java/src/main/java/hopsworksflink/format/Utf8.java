package hopsworksflink.format;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/** Whether bytes are UTF-8. Java's own decoders allocate, or take what is broken for a question mark. */
public final class Utf8 {

    private static final VarHandle LONG =
            MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

    private Utf8() {}

    public static boolean isValid(byte[] bytes, int from, int end) {
        int at = from;
        while (at < end) {
            if (end - at >= 8 && ((long) LONG.get(bytes, at) & 0x8080808080808080L) == 0) {
                at += 8;
                continue;
            }
            int first = bytes[at++];
            if (first >= 0) {
                continue;
            }
            int more = first >= -62 && first < -32 ? 1 : first >= -32 && first < -16 ? 2 : first >= -16 && first <= -12 ? 3 : 0;
            if (more == 0 || end - at < more) {
                return false;
            }
            int second = bytes[at] & 0xff;
            // Neither longer than needed, nor a surrogate, nor beyond the last character.
            if ((first == (byte) 0xe0 && second < 0xa0)
                    || (first == (byte) 0xed && second > 0x9f)
                    || (first == (byte) 0xf0 && second < 0x90)
                    || (first == (byte) 0xf4 && second > 0x8f)) {
                return false;
            }
            for (int last = at + more; at < last; at++) {
                if ((bytes[at] & 0xc0) != 0x80) {
                    return false;
                }
            }
        }
        return true;
    }
}
