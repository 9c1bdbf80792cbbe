package hopsworksflink.aggregate;

import java.io.IOException;
import java.util.Map;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.StringData;

/** Writes values with a letter before each that says of which class it is. */
public final class ValuesSerializer extends TypeSerializerSingleton<Values> {
    private static final long serialVersionUID = 1L;

    public static final ValuesSerializer INSTANCE = new ValuesSerializer();

    @Override
    public void serialize(Values values, DataOutputView target) throws IOException {
        target.writeDouble(values.setting);
        target.writeBoolean(values.tooMany);
        target.writeInt(values.counts.size());
        for (Map.Entry<Object, Long> entry : values.counts.entrySet()) {
            write(entry.getKey(), target);
            target.writeLong(entry.getValue());
        }
    }

    @Override
    public Values deserialize(DataInputView source) throws IOException {
        Values values = new Values();
        values.setting = source.readDouble();
        values.tooMany = source.readBoolean();
        for (int left = source.readInt(); left > 0; left--) {
            Object value = read(source);
            values.counts.put(value, source.readLong());
        }
        return values;
    }

    private static void write(Object value, DataOutputView target) throws IOException {
        if (value instanceof Boolean flag) {
            target.writeByte('B');
            target.writeBoolean(flag);
        } else if (value instanceof Byte number) {
            target.writeByte('T');
            target.writeByte(number);
        } else if (value instanceof Short number) {
            target.writeByte('S');
            target.writeShort(number);
        } else if (value instanceof Integer number) {
            target.writeByte('I');
            target.writeInt(number);
        } else if (value instanceof Long number) {
            target.writeByte('L');
            target.writeLong(number);
        } else if (value instanceof Float number) {
            target.writeByte('F');
            target.writeFloat(number);
        } else if (value instanceof Double number) {
            target.writeByte('D');
            target.writeDouble(number);
        } else if (value instanceof StringData text) {
            target.writeByte('C');
            writeBytes(text.toBytes(), target);
        } else if (value instanceof DecimalData number) {
            target.writeByte('N');
            target.writeByte(number.precision());
            target.writeByte(number.scale());
            writeBytes(number.toUnscaledBytes(), target);
        } else {
            throw new IllegalArgumentException("Values of " + value.getClass() + " cannot be kept");
        }
    }

    private static Object read(DataInputView source) throws IOException {
        byte letter = source.readByte();
        switch (letter) {
            case 'B':
                return source.readBoolean();
            case 'T':
                return source.readByte();
            case 'S':
                return source.readShort();
            case 'I':
                return source.readInt();
            case 'L':
                return source.readLong();
            case 'F':
                return source.readFloat();
            case 'D':
                return source.readDouble();
            case 'C':
                return StringData.fromBytes(readBytes(source));
            case 'N':
                int precision = source.readByte();
                int scale = source.readByte();
                return DecimalData.fromUnscaledBytes(readBytes(source), precision, scale);
            default:
                throw new IOException("A value in the state begins with " + letter);
        }
    }

    private static void writeBytes(byte[] bytes, DataOutputView target) throws IOException {
        target.writeInt(bytes.length);
        target.write(bytes);
    }

    private static byte[] readBytes(DataInputView source) throws IOException {
        byte[] bytes = new byte[source.readInt()];
        source.readFully(bytes);
        return bytes;
    }

    /** What is in them never changes. */
    @Override
    public Values copy(Values values) {
        Values copy = new Values();
        copy.setting = values.setting;
        copy.tooMany = values.tooMany;
        copy.counts.putAll(values.counts);
        return copy;
    }

    @Override
    public Values copy(Values values, Values reuse) {
        return copy(values);
    }

    @Override
    public void copy(DataInputView source, DataOutputView target) throws IOException {
        serialize(deserialize(source), target);
    }

    @Override
    public Values deserialize(Values reuse, DataInputView source) throws IOException {
        return deserialize(source);
    }

    @Override
    public Values createInstance() {
        return new Values();
    }

    @Override
    public boolean isImmutableType() {
        return false;
    }

    @Override
    public int getLength() {
        return -1;
    }

    @Override
    public TypeSerializerSnapshot<Values> snapshotConfiguration() {
        return new Snapshot();
    }

    /** Of the form in which values are written. */
    public static final class Snapshot extends SimpleTypeSerializerSnapshot<Values> {
        public Snapshot() {
            super(() -> INSTANCE);
        }
    }
}
